// Package allowlist knows every statement that a sidecar may run, and searches servers' logs for others.
package allowlist
