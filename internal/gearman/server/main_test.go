package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"procops/internal/gearman"
	"procops/internal/gearman/wire"
	"procops/internal/store"
	"procops/internal/unit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long anything may take.
const patience = 30 * time.Second

// rig is a running server.
type rig struct {
	t      *testing.T
	server *Server
	addr   net.Addr
	stop   context.CancelFunc
	hurry  chan struct{}
	ended  chan error
	once   sync.Once
}

// testConfig is what a server has unless a test wants something else.
func testConfig() gearman.ServerConfig {
	return gearman.ServerConfig{
		Durability: gearman.DurableProcess, WorkerWakeup: 1, HandlePrefix: "H:test",
		Memory: 64 << 20, MaxMemory: 4 << 30, MaxPacket: 256 << 20, MaxConnections: 20000,
		WriteTimeout: unit.Duration(patience), StopGrace: unit.Duration(patience), Keepalive: unit.Duration(time.Minute),
	}
}

// openStore opens the state in a directory.
func openStore(t *testing.T, dir string) *store.Store {
	t.Helper()
	st, err := store.Open(t.Context(), dir, store.Options{})
	check(t, err)
	t.Cleanup(func() { _ = st.Close() })
	return st
}

// start starts a server; without a store it keeps nothing.
func start(t *testing.T, st *store.Store, change func(*gearman.ServerConfig)) *rig {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	return startOn(t, st, change, l)
}

func startOn(t *testing.T, st *store.Store, change func(*gearman.ServerConfig), l net.Listener) *rig {
	t.Helper()
	cfg := testConfig()
	if change != nil {
		change(&cfg)
	}
	s, err := New(Options{Config: cfg, Store: st, Log: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel)})
	check(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	r := &rig{t: t, server: s, addr: l.Addr(), stop: cancel, hurry: make(chan struct{}), ended: make(chan error, 1)}
	go func() { r.ended <- s.Serve(ctx, r.hurry, l) }()
	t.Cleanup(r.end)
	return r
}

// end ends the server and waits for it.
func (r *rig) end() {
	r.t.Helper()
	r.once.Do(func() {
		r.stop()
		select {
		case err := <-r.ended:
			if err != nil {
				r.t.Errorf("the server ended with %v", err)
			}
		case <-time.After(patience):
			r.t.Error("the server does not end")
		}
	})
}

// crash ends the server without the grace for running jobs.
func (r *rig) crash() {
	r.t.Helper()
	close(r.hurry)
	r.end()
}

// peer is a client or worker that speaks raw packets.
type peer struct {
	t      *testing.T
	net    net.Conn
	reader *wire.Reader
	echoes int
}

func (r *rig) dial() *peer {
	r.t.Helper()
	conn, err := new(net.Dialer).DialContext(r.t.Context(), r.addr.Network(), r.addr.String())
	check(r.t, err)
	return newPeer(r.t, conn)
}

func newPeer(t *testing.T, conn net.Conn) *peer {
	t.Helper()
	t.Cleanup(func() { _ = conn.Close() })
	check(t, conn.SetDeadline(time.Now().Add(patience)))
	return &peer{t: t, net: conn, reader: wire.NewReader(conn, wire.Response, 0)}
}

func encode(t *testing.T, typ wire.Type, args ...string) []byte {
	t.Helper()
	packet, err := wire.Append(nil, wire.Request, typ, args...)
	check(t, err)
	return packet
}

func (p *peer) send(typ wire.Type, args ...string) {
	p.t.Helper()
	_, err := p.net.Write(encode(p.t, typ, args...))
	check(p.t, err)
}

// hear returns the next packet, with its arguments separated by "|".
func (p *peer) hear() string {
	p.t.Helper()
	packet, err := p.reader.Next()
	check(p.t, err)
	return text(p.t, packet)
}

func text(t *testing.T, packet *wire.Packet) string {
	t.Helper()
	words := make([]string, 0, 8)
	for i := range packet.Type.Args() - 1 {
		words = append(words, string(packet.Arg(i)))
	}
	if packet.Type.Args() > 0 {
		data, err := packet.Data()
		check(t, err)
		words = append(words, string(data))
	}
	return strings.TrimSpace(packet.Type.String() + " " + strings.Join(words, "|"))
}

// want waits for these packets.
func (p *peer) want(packets ...string) {
	p.t.Helper()
	for _, want := range packets {
		if got := p.hear(); got != want {
			p.t.Fatalf("got %.200q, want %.200q", got, want)
		}
	}
}

// ask sends a packet and waits for these answers and no others.
func (p *peer) ask(typ wire.Type, args []string, answers ...string) {
	p.t.Helper()
	p.send(typ, args...)
	p.want(answers...)
	p.quiet()
}

// quiet fails if there is anything to hear: an echo is heard after it.
func (p *peer) quiet() {
	p.t.Helper()
	p.echoes++
	token := fmt.Sprint("token ", p.echoes)
	p.send(wire.EchoReq, token)
	p.want("ECHO_RES " + token)
}

// submit submits a job and returns its handle.
func (p *peer) submit(typ wire.Type, args ...string) string {
	p.t.Helper()
	p.send(typ, args...)
	created := p.hear()
	handle, ok := strings.CutPrefix(created, "JOB_CREATED ")
	if !ok {
		p.t.Fatalf("%s instead of JOB_CREATED", created)
	}
	return handle
}

// grab asks for a job and returns its handle, function, key and workload, separated
// by "|".
func (p *peer) grab() string {
	p.t.Helper()
	p.send(wire.GrabJobUniq)
	got := p.hear()
	job, ok := strings.CutPrefix(got, "JOB_ASSIGN_UNIQ ")
	if !ok {
		p.t.Fatalf("%s instead of a job", got)
	}
	return job
}

// do grabs a job, completes it and returns its workload.
func (p *peer) do() string {
	p.t.Helper()
	words := strings.SplitN(p.grab(), "|", 4)
	p.send(wire.WorkComplete, words[0], "done")
	return words[3]
}

// admin asks a line and returns the answer up to a line that ends it.
func (r *rig) admin(line string) string {
	r.t.Helper()
	conn, err := new(net.Dialer).DialContext(r.t.Context(), r.addr.Network(), r.addr.String())
	check(r.t, err)
	defer func() { _ = conn.Close() }()
	check(r.t, conn.SetDeadline(time.Now().Add(patience)))
	end := encodeAnswer(r.t, wire.EchoRes, "end")
	_, err = conn.Write(append([]byte(line+"\n"), encode(r.t, wire.EchoReq, "end")...))
	check(r.t, err)
	var got []byte
	for buf := make([]byte, 64<<10); !bytes.HasSuffix(got, end); {
		n, err := conn.Read(buf)
		check(r.t, err)
		got = append(got, buf[:n]...)
	}
	return string(bytes.TrimSuffix(got, end))
}

func encodeAnswer(t *testing.T, typ wire.Type, args ...string) []byte {
	t.Helper()
	packet, err := wire.Append(nil, wire.Response, typ, args...)
	check(t, err)
	return packet
}

// wantAdmin compares the answer to a line.
func (r *rig) wantAdmin(line, want string) {
	r.t.Helper()
	if got := r.admin(line); got != want {
		r.t.Errorf("%s: %q, want %q", line, got, want)
	}
}

// eventually waits until the answer to a line is as wanted.
func (r *rig) eventually(line, want string) {
	r.t.Helper()
	deadline := time.Now().Add(patience)
	for got := ""; got != want; got = r.admin(line) {
		if time.Now().After(deadline) {
			r.t.Fatalf("%s: %q, want %q", line, got, want)
		}
	}
}

// wantEnd waits for the end of a connection.
func (p *peer) wantEnd() {
	p.t.Helper()
	_, err := p.reader.Next()
	if !errors.Is(err, io.EOF) && !isReset(err) {
		p.t.Fatalf("got %v, want the end", err)
	}
}

func isReset(err error) bool { return err != nil && strings.Contains(err.Error(), "reset by peer") }

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
