package proc

import (
	"runtime"
	"sync"
	"time"
)

// spawner starts programs, one after the other, from a thread of its own: the
// kernel sends a child its parent-death signal when the thread that started it
// ends.
type spawner struct {
	reaper   *reaper
	requests chan *spawn
	one      sync.Mutex // held during a start
}

// spawn asks for a start.
type spawn struct {
	launch  *launch
	process *Process
	done    chan error
}

func newSpawner(r *reaper) *spawner {
	return &spawner{reaper: r, requests: make(chan *spawn)}
}

// run serves the requests until quit is closed. The thread is not unlocked: it
// ends with the goroutine.
func (s *spawner) run(quit <-chan struct{}) {
	runtime.LockOSThread()
	for {
		select {
		case request := <-s.requests:
			request.done <- s.serve(request)
		case <-quit:
			return
		}
	}
}

// serve starts a program. The reaper's lock is not held meanwhile: execve can
// take long on a slow file system.
func (s *spawner) serve(request *spawn) error {
	s.one.Lock()
	defer s.one.Unlock()
	s.reaper.begin()
	request.process.started = time.Now()
	pid, err := request.launch.run()
	if err != nil {
		s.reaper.register(nil, pid)
		return err
	}
	s.reaper.register(request.process, pid)
	return nil
}

// startHere starts a program from the calling thread.
func (s *spawner) startHere(l *launch, p *Process, quit <-chan struct{}) error {
	select {
	case <-quit:
		return ErrClosed
	default:
		return s.serve(&spawn{launch: l, process: p})
	}
}

// start hands a start to the thread and waits for its result.
func (s *spawner) start(l *launch, p *Process, quit <-chan struct{}) error {
	select {
	case <-quit:
		return ErrClosed
	default:
	}
	request := &spawn{launch: l, process: p, done: make(chan error, 1)}
	select {
	case s.requests <- request:
		return <-request.done
	case <-quit:
		return ErrClosed
	}
}
