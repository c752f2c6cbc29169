package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
)

// shortestToken is 128 bits in base64, rounded up.
const shortestToken = 22

// ReadToken reads a token from a file: its first line, at least 22 characters. An empty path means none; what says in
// errors what it is for.
func ReadToken(what, path string) (string, error) {
	if path == "" {
		return "", nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the %s: %w", what, err)
	}
	token, _, _ := strings.Cut(string(content), "\n")
	token = strings.TrimSpace(token)
	if len(token) < shortestToken {
		return "", fmt.Errorf("the %s in %s has %d characters, at least %d are needed: make one with `openssl rand -base64 32`", what, path, len(token), shortestToken)
	}
	return token, nil
}

// guard lets in who knows the token, as bearer token or as the password of basic authentication, which a
// browser asks for. Without a token it lets in who asks for this machine by a name of its own: another
// name that resolves to a loopback address is a page of a stranger that reads ours through the browser of
// a person here (DNS rebinding). /healthz and /readyz are open; they tell strangers nothing but the state.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		open := r.URL.Path == "/healthz" || r.URL.Path == "/readyz"
		switch {
		case open, s.admits(r):
			next.ServeHTTP(w, r)
		case s.Token != "":
			w.Header().Set("WWW-Authenticate", `Basic realm="mvscheduler", charset="UTF-8"`)
			plain(w, http.StatusUnauthorized, "a token is needed: Authorization: Bearer TOKEN, or the token as password")
		default:
			plain(w, http.StatusMisdirectedRequest, "these pages ask for no login, and answer only to localhost, 127.0.0.1 and [::1]; with --token-file they answer to any name")
		}
	})
}

func (s *Server) admits(r *http.Request) bool {
	if s.Token != "" {
		return s.knowsToken(r)
	}
	return ownName(r.Host)
}

func (s *Server) knowsToken(r *http.Request) bool {
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		_, given, ok = r.BasicAuth()
	}
	want, got := sha256.Sum256([]byte(s.Token)), sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1 && ok
}

func ownName(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// loopback refuses an address that others can reach: there is no login here.
func loopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("listen address %q: %w (write host:port, for example 127.0.0.1:8787)", address, err)
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("listen address %q can be reached from other machines, and these pages ask for no login: use 127.0.0.1 or [::1], or give a token with --token-file", address)
}

// headers forbid everything that the pages do not need. River's pages bring styles of their own.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		policy := "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
		switch {
		case !strings.HasPrefix(r.URL.Path, riverPrefix+"/"):
			policy += "; style-src 'self'"
		default:
			policy += "; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'"
		}
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

// readOnly refuses whatever could change something.
func readOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			plain(w, http.StatusMethodNotAllowed, "these pages only show: act with the program or with SQL")
			return
		}
		next.ServeHTTP(w, r)
	})
}
