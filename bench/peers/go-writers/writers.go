// Package writers is the part that the Go programs of `npm run bench -- library` share: it reads jobs from
// standard input, runs them, and prints their figures, in the form that bench/library/protocol.ts describes.
package writers

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Member is what the harness tells a member about itself and its cluster.
type Member struct {
	// ID is 1 to the number of members.
	ID        int
	Directory string
	// Addresses of all members by ID - 1.
	Addresses []string
}

// MemberFromArgs reads `ID DIRECTORY PORT,PORT,...`.
func MemberFromArgs() Member {
	id, err := strconv.Atoi(os.Args[1])
	Must(err)
	member := Member{ID: id, Directory: filepath.Clean(os.Args[2])}
	for _, port := range strings.Split(os.Args[3], ",") {
		member.Addresses = append(member.Addresses, "127.0.0.1:"+port)
	}
	Must(os.MkdirAll(member.Directory, 0o755))
	return member
}

type job struct {
	Writers  int
	WarmUpMs float64
	Ms       float64
	Bytes    int
}

type figures struct {
	Writes int     `json:"writes"`
	Ms     float64 `json:"ms"`
	P50    float64 `json:"p50"`
	P99    float64 `json:"p99"`
	Max    float64 `json:"max"`
}

var output sync.Mutex

func print(value any) {
	output.Lock()
	defer output.Unlock()
	line, err := json.Marshal(value)
	Must(err)
	fmt.Println(string(line))
}

// ReportLeader tells the harness that this member leads.
func ReportLeader() { print(map[string]bool{"leader": true}) }

// Serve runs jobs until standard input ends. `write` returns when the command is applied on this member.
func Serve(write func(command []byte) error) {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var next job
		Must(json.Unmarshal(lines.Bytes(), &next))
		print(run(next, write))
	}
	os.Exit(0)
}

func run(next job, write func(command []byte) error) figures {
	began := time.Now().Add(time.Duration(next.WarmUpMs * float64(time.Millisecond)))
	end := began.Add(time.Duration(next.Ms * float64(time.Millisecond)))
	latencies := make([][]float64, next.Writers)
	var running sync.WaitGroup
	for writer := range next.Writers {
		running.Go(func() {
			command := make([]byte, next.Bytes)
			for at := time.Now(); at.Before(end); {
				Must(write(command))
				now := time.Now()
				if !at.Before(began) {
					latencies[writer] = append(latencies[writer], now.Sub(at).Seconds()*1000)
				}
				at = now
			}
		})
	}
	running.Wait()
	elapsed := time.Since(began)
	all := slices.Concat(latencies...)
	slices.Sort(all)
	result := figures{Writes: len(all), Ms: elapsed.Seconds() * 1000}
	if len(all) > 0 {
		result.P50 = all[len(all)/2]
		result.P99 = all[len(all)*99/100]
		result.Max = all[len(all)-1]
	}
	return result
}

// Must ends the program with the error: a member that goes on after one would report figures of other work.
func Must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
