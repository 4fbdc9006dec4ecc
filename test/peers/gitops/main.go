// Argo CD as far as an Application needs it: the controller, the server that reads repositories, and the Redis between them.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alicebob/miniredis/v2"
	controller "github.com/argoproj/argo-cd/v3/cmd/argocd-application-controller/commands"
	reposerver "github.com/argoproj/argo-cd/v3/cmd/argocd-repo-server/commands"
	"github.com/spf13/cobra"
)

func main() {
	root := &cobra.Command{Use: "argocd", SilenceUsage: true}
	root.AddCommand(controller.NewCommand(), reposerver.NewCommand(), &cobra.Command{
		Use:  "redis ADDRESS",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			server := miniredis.NewMiniRedis()
			if err := server.StartAddr(args[0]); err != nil {
				return err
			}
			defer server.Close()
			fmt.Println("serving on", server.Addr())
			end := make(chan os.Signal, 1)
			signal.Notify(end, os.Interrupt, syscall.SIGTERM)
			<-end
			return nil
		},
	})
	if root.Execute() != nil {
		os.Exit(1)
	}
}
