// Command mongo is the server that the tests of the MongoDB broker talk to. MongoDB
// itself is in no registry that the tests can reach; FerretDB speaks its protocol and
// keeps its data in SQLite. What FerretDB lacks is that findAndModify is atomic, so the
// clients reach it through a gate that lets one change pass at a time.
//
// It is a module of its own, because nobody who builds procops is to download it.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:27017", "address of the clients")
	dir := flag.String("dir", ".", "directory of the data")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen, *dir); err != nil {
		fmt.Fprintf(os.Stderr, "mongo: error: %v\n", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, listen, dir string) error {
	server, err := ferretdb.New(&ferretdb.Config{
		Listener: ferretdb.ListenerConfig{TCP: "127.0.0.1:0"},
		Logger:   slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		Handler:  "sqlite",
		// What is acknowledged is to survive the end of the server, not that of the machine.
		SQLiteURL: "file:" + dir + "/?_pragma=synchronous(off)",
	})
	if err != nil {
		return fmt.Errorf("cannot start FerretDB: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	inner, err := url.Parse(server.MongoDBURI())
	if err != nil {
		return fmt.Errorf("cannot read where FerretDB listens: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return fmt.Errorf("cannot listen: %w", err)
	}
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	fmt.Println("serving", listener.Addr())
	(&gate{to: inner.Host}).serve(listener)
	return <-ended
}
