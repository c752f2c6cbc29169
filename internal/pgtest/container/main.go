// Command container runs an image of PostgreSQL for the tests until its standard input ends. It prints the
// address once the server listens there; what the server logs is in file log of a directory, which everybody
// has to be able to write to. Package pgtest starts it when MVSCHEDULER_TEST_IMAGE is set.
//
//	container DIRECTORY IMAGE -c NAME=VALUE ...
//
// It is a module of its own: testcontainers brings some forty modules, and would choose newer versions of
// libraries that are in the program.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/log"
	"github.com/testcontainers/testcontainers-go/wait"
)

var port = network.MustParsePort("5432/tcp")

const (
	loopback    = "127.0.0.1"
	startWithin = 5 * time.Minute // with the time to pull the image
	stopWithin  = 30 * time.Second
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: container DIRECTORY IMAGE [ARGUMENT OF postgres]...")
		os.Exit(2)
	}
	signal.Ignore(os.Interrupt, syscall.SIGTERM) // the tests get them too; what ends this is the end of their side of the pipe
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run keeps the container until standard input ends, as it does when the tests are over or were killed. So
// there is no need for a second container that cleans up (Ryuk), nor for its image. The engine has to be on
// this machine: the port is open on its loopback address only, as the server trusts every connection.
func run(ctx context.Context, directory, image string, args []string) (err error) {
	for name, value := range map[string]string{"TESTCONTAINERS_RYUK_DISABLED": "true", "TESTCONTAINERS_HOST_OVERRIDE": loopback} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	log.SetDefault(log.NewNoopLogger())
	starting, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	server, err := testcontainers.Run(starting, image,
		testcontainers.WithEnv(map[string]string{
			"POSTGRES_HOST_AUTH_METHOD": "trust",
			"POSTGRES_INITDB_ARGS":      "--encoding=UTF8 --no-locale --no-sync",
		}),
		// Not through the engine, which would hand on the log a little later: tests read it at once.
		testcontainers.WithEntrypoint("/bin/sh", "-c", `exec docker-entrypoint.sh "$@" 2>>/log/log`, "sh"),
		testcontainers.WithCmd(append([]string{"postgres"}, args...)...),
		testcontainers.WithExposedPorts(port.String()),
		testcontainers.WithHostConfigModifier(func(config *container.HostConfig) {
			config.Binds = []string{directory + ":/log"}
			config.PortBindings = network.PortMap{port: {{HostIP: netip.MustParseAddr(loopback)}}}
		}),
		testcontainers.WithWaitStrategyAndDeadline(time.Minute, wait.ForListeningPort(port.String())),
	)
	defer func() {
		stopping, cancel := context.WithTimeout(ctx, stopWithin)
		defer cancel()
		if server != nil {
			err = errors.Join(err, server.Terminate(stopping))
		}
	}()
	if err != nil {
		return fmt.Errorf("start a container of %s: %w", image, err)
	}
	address, err := server.PortEndpoint(starting, port.String(), "")
	if err != nil {
		return fmt.Errorf("find the port of the container: %w", err)
	}
	fmt.Println(address)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
