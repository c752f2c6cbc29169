//go:build !linux

package pgserver

import (
	"os/exec"
	"syscall"
)

func tied() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func startTied(cmd *exec.Cmd, exited chan<- struct{}) error {
	if err := cmd.Start(); err != nil {
		close(exited)
		return err
	}
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	return nil
}
