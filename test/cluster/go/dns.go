package main

import (
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/template"
)

// runDNS serves the cluster's names. Only the plugins that a cluster without an upstream resolver uses are linked: the full list would
// bring the clients of three cloud vendors with it.
func runDNS() { coremain.Run() }
