package heartbeat

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"procops/internal/store"
)

// tolerance is how far the wall clock may get away from the clock that nobody sets
// before that counts as a jump: slewing it by NTP does not.
const tolerance = 2 * time.Second

// clock tells by a clock that nobody sets how the wall clock goes.
type clock interface {
	// sinceBoot returns the kernel's id of this boot and the time since, sleep
	// included. An error means that it cannot be told.
	sinceBoot() (boot string, since time.Duration, err error)
}

// bootClock is CLOCK_BOOTTIME, see clock_gettime(2).
type bootClock struct{}

func (bootClock) sinceBoot() (string, time.Duration, error) {
	boot, err := bootID()
	if err != nil {
		return "", 0, fmt.Errorf("cannot read the boot id: %w", err)
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return "", 0, fmt.Errorf("cannot read the time since boot: %w", err)
	}
	return boot, time.Duration(ts.Nano()), nil
}

// look compares the clocks, and returns whether a monitor watches. After the wall
// clock was set, in either direction, all times that are kept move along (jumped):
// ages stay what they are.
func (l *List) look(tx *store.Tx) (w watchRow, jumped bool, err error) {
	boot, since, err := l.clock.sinceBoot()
	if err != nil {
		return w, false, err
	}
	now := tx.Now()
	skew := time.Duration(now.UnixNano()) - since
	w, known, err := loadWatch(tx)
	if err != nil {
		return w, false, err
	}
	jump := skew - w.skew
	switch {
	case !known || w.boot != boot:
		if known {
			w.until = time.Time{} // nobody watched while the machine was down
		}
	case jump > -tolerance && jump < tolerance:
		return w, false, nil
	default:
		jumped = true
		if err := shiftTimes(tx, jump, l.scheduled()); err != nil {
			return w, false, err
		}
		w.watched, w.until = shifted(w.watched, jump), shifted(w.until, jump)
		tx.Emit(eventClock.New("", clockData{Seconds: jump.Round(time.Millisecond).Seconds()}))
	}
	w.boot, w.skew = boot, skew
	return w, jumped, saveWatch(tx, w)
}

// scheduled returns the names of the declared heartbeats that have a schedule.
func (l *List) scheduled() []string {
	names := []string{}
	for name, target := range l.cfg.Heartbeats {
		if target.Schedule != nil {
			names = append(names, name)
		}
	}
	return names
}

func shifted(t time.Time, by time.Duration) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(by)
}

// watching reports whether a monitor watches at a time.
func (w watchRow) watching(now time.Time) bool { return now.Before(w.until) }
