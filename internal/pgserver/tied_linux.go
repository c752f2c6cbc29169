package pgserver

import (
	"os/exec"
	"runtime"
	"syscall"
)

// tied makes the kernel end the server when this process dies, however it dies. SIGQUIT is PostgreSQL's
// immediate shutdown. Setpgid keeps the terminal's Ctrl-C for us.
func tied() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT, Setpgid: true}
}

// startTied starts the command from a thread that lives as long as the command does: the kernel sends
// the death signal when the thread that forked ends, not the process. It closes exited at the end.
func startTied(cmd *exec.Cmd, exited chan<- struct{}) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(exited)
	}()
	return <-started
}
