package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// draft is a query in the user's editor. Its file outlives an error: what somebody wrote is not lost.
type draft struct {
	before, text string
	path         string
	written      bool // the user has changed the file
}

func newDraft(text string) (*draft, error) {
	f, err := os.CreateTemp("", "mvscheduler-*.sql")
	if err != nil {
		return nil, err
	}
	_, err = f.WriteString(strings.TrimRight(text, "\n") + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, errors.Join(err, os.Remove(f.Name()))
	}
	return &draft{before: text, text: text, path: f.Name()}, nil
}

// edit opens the editor of VISUAL or EDITOR; vi when neither is set. The variables hold a shell command, as
// elsewhere.
func (d *draft) edit(ctx context.Context, a *app) error {
	editor := "vi"
	for _, name := range []string{"EDITOR", "VISUAL"} {
		if v := os.Getenv(name); v != "" {
			editor = v
		}
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", editor+` "$1"`, "sh", d.path)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.stdin, a.stdout, a.stderr
	failed := cmd.Run()
	changed, err := os.ReadFile(d.path)
	if err != nil {
		return errors.Join(failed, err)
	}
	d.written = strings.TrimSpace(string(changed)) != strings.TrimSpace(d.before)
	switch {
	case failed != nil:
		return fmt.Errorf("run %s: %w", editor, failed)
	case strings.TrimSpace(string(changed)) == "":
		d.written = false
		return errors.New("the query is empty, nothing was changed")
	case d.written:
		d.text = string(changed)
	}
	return nil
}

// end removes the file, unless there was an error and somebody's work is in it: then the error says where.
func (d *draft) end(view string, err error) error {
	if err != nil && d.written {
		return &adviceError{err: err, do: fmt.Sprintf("Your text is kept: mend it in %s, then: mvscheduler edit %s -f %s", d.path, shellQuote(view), shellQuote(d.path))}
	}
	return errors.Join(err, os.Remove(d.path))
}
