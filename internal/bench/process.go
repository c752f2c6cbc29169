package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// cpuTime is user and system time of a process so far.
func cpuTime(pid int) (time.Duration, error) {
	own, _, err := cpuTimes(pid)
	return own, err
}

// cpuTimes is user and system time of a process so far, and of those of its children that have ended (proc(5): fields 14
// to 17 of stat, in ticks of 10 ms).
func cpuTimes(pid int) (own, children time.Duration, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var times [4]time.Duration
	for i, f := range fields[11:15] {
		ticks, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, 0, err
		}
		times[i] = time.Duration(ticks) * 10 * time.Millisecond
	}
	return times[0] + times[1], times[2] + times[3], nil
}

// familyTime is user and system time of a process and of all its children so far.
func familyTime(pid int) (time.Duration, error) {
	own, ended, err := cpuTimes(pid)
	if err != nil {
		return 0, err
	}
	total := own + ended
	text, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", pid))
	if err != nil {
		return 0, err
	}
	for _, word := range strings.Fields(string(text)) {
		child, err := strconv.Atoi(word)
		if err != nil {
			return 0, err
		}
		if own, _, err := cpuTimes(child); err == nil { // else it has just ended
			total += own
		}
	}
	return total, nil
}

// residentBytes is the resident set of a process (proc(5): second field of statm, in pages).
func residentBytes(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}
