// Package deploy holds what runs mvscheduler elsewhere: images, a systemd unit, Kubernetes manifests. Its
// tests check what these files promise without running them; docker/test.sh runs the containers.
package deploy
