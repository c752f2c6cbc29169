package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

type healthCmd struct {
	Live    bool          `help:"Ask /healthz instead: does the process run at all? For liveness probes, which must not restart a sidecar because its database is away."`
	Listen  string        `default:"127.0.0.1:8787" placeholder:"ADDR" help:"The --listen of the sidecar. An address that stands for every interface is asked by loopback."`
	Timeout time.Duration `default:"5s" placeholder:"DURATION" help:"How long an answer may take."`
}

func (healthCmd) Help() string {
	return `Asks the sidecar on this machine whether it is ready, for the health check of a container: exit code 0 when it is, 5 when it is not or nothing answers. Ready means that its database answers and the schema fits the program. It needs no shell, no curl, no database and no token. Whether the views are fresh is another question: mvscheduler status --check.

Examples:

  mvscheduler health
  mvscheduler health --live
  mvscheduler health --listen 127.0.0.1:9000 -o json

In a Dockerfile: HEALTHCHECK CMD ["/mvscheduler", "health"]

` + exitCodesHelp
}

// health is what the sidecar answered.
type health struct {
	Healthy bool   `json:"healthy"`
	URL     string `json:"url"`
	Status  int    `json:"status"` // of HTTP; 0 when nothing answered
	Answer  string `json:"answer"` // what the sidecar said, or why it said nothing
}

// Run asks the sidecar.
func (c *healthCmd) Run(ctx context.Context, a *app) error {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil || port == "" || port == "0" {
		return usagef("--listen %q names no port to ask: write host:port, for example 127.0.0.1:8787", c.Listen)
	}
	if c.Timeout <= 0 {
		return usagef("--timeout must be positive")
	}
	path := "/readyz"
	if c.Live {
		path = "/healthz"
	}
	h := askHealth(ctx, (&url.URL{Scheme: "http", Host: net.JoinHostPort(reachable(host), port), Path: path}).String(), c.Timeout)
	if a.Output != "table" {
		if err := a.emitData(h); err != nil {
			return err
		}
	} else if h.Healthy {
		fmt.Fprintln(a.stdout, sanitize(h.Answer))
	}
	switch {
	case h.Healthy:
		return nil
	case h.Status == 0:
		return &exitError{code: exitUnhealthy, err: &adviceError{
			err: fmt.Errorf("no sidecar answers at %s: %s", h.URL, h.Answer),
			do:  "Start it (mvscheduler serve), or give the address where it listens: mvscheduler health --listen HOST:PORT",
		}}
	default:
		return &exitError{code: exitUnhealthy, err: fmt.Errorf("%s answers %d: %s", h.URL, h.Status, h.Answer)}
	}
}

// reachable is where a program on the same machine finds a server that listens on host.
func reachable(host string) string {
	switch ip := net.ParseIP(host); {
	case host == "":
		return "127.0.0.1"
	case ip == nil || !ip.IsUnspecified():
		return host
	case ip.To4() != nil:
		return "127.0.0.1"
	default:
		return "::1"
	}
}

// longestAnswer in bytes is far more than the sidecar says.
const longestAnswer = 4 << 10

// askHealth sends one request, by no proxy and following no redirect: only the sidecar itself counts.
func askHealth(ctx context.Context, address string, timeout time.Duration) health {
	h := health{URL: address}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		h.Answer = err.Error()
		return h
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err
		}
		h.Answer = err.Error()
		if errors.Is(err, context.DeadlineExceeded) {
			h.Answer = "no answer within " + timeout.String()
		}
		return h
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, longestAnswer))
	h.Status = response.StatusCode
	h.Answer = cmp.Or(strings.TrimSpace(string(body)), http.StatusText(response.StatusCode))
	h.Healthy = err == nil && response.StatusCode == http.StatusOK
	return h
}
