package main

import (
	"os"
	"os/signal"
	"syscall"
)

// runInit is process 1 of a node's own process namespace. Its one job is to reap what its children leave behind; the kernel does the rest:
// when this process dies, everything in the namespace dies with it, so no pod can outlive its cluster.
func runInit() {
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	for range children {
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != nil || pid <= 0 {
				break
			}
		}
	}
}
