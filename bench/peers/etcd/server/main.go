// Command server is etcd's own server, unchanged: the module that holds it has no other way to be built at a
// pinned version.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
