// Command sqs is a server that the tests of the SQS broker talk to: goaws, in memory, on
// loopback. What goaws lacks or has wrong of what the broker needs is done here: batches
// (each of their entries is a request of its own to goaws), how often a message was
// received, how many messages there are, and that a receipt is good until there is a newer one.
//
// It is a module of its own, because nobody who builds procops is to download it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/Admiral-Piett/goaws/app/gosqs"
	"github.com/Admiral-Piett/goaws/app/models"
	"github.com/Admiral-Piett/goaws/app/router"
	"github.com/sirupsen/logrus"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:4100", "address of the clients")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen); err != nil {
		fmt.Fprintf(os.Stderr, "sqs: error: %v\n", err)
		os.Exit(1)
	}
}

// visibilityTick is how often goaws looks which messages are visible again.
const visibilityTick = 20 * time.Millisecond

// run serves until ctx ends.
func run(ctx context.Context, listen string) error {
	logrus.SetOutput(io.Discard)
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return err
	}
	models.CurrentEnvironment.Host, models.CurrentEnvironment.Port = host, port
	models.CurrentEnvironment.Region, models.CurrentEnvironment.AccountID = "", "100010001000"
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	go gosqs.PeriodicTasks(visibilityTick, make(chan bool))
	server := &http.Server{Handler: front{router.New(), &sync.Map{}}, BaseContext: func(net.Listener) context.Context { return ctx }}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	fmt.Println("serving", listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
