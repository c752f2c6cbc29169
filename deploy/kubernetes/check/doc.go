// Package check decodes the manifests strictly with Kubernetes' own types. It is a module of its own, so
// that those types are no dependency of mvscheduler: run it with make test-deploy.
package check
