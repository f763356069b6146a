// Command porcupine checks operation histories of Keelson for linearizability with Porcupine, a checker that the
// Keelson project did not write. `npm run porcupine` builds and runs it; docs/histories.md describes the format of
// the histories.
//
// For each history it prints one JSON object on a line (see result). It exits with 0 if it read every history,
// whatever the verdicts are, and with 2 if it could not: the caller judges the verdicts.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

const (
	linearizable    = "linearizable"
	notLinearizable = "not linearizable"
	undecided       = "undecided"
)

// result is what is printed about one history.
type result struct {
	File    string `json:"file"`
	Verdict string `json:"verdict"`
	// Operations that were checked: all except those that surely had no effect.
	Operations int `json:"operations"`
	// How many of these have an unknown outcome.
	Unknown int `json:"unknown"`
	Keys    int `json:"keys"`
	// The keys that have no order that explains them, or, of an undecided history, those that were not decided.
	Reasons []string `json:"reasons"`
	Ms      float64  `json:"ms"`
}

// limits of the search for one key. A key that reaches one of them is undecided, never linearizable.
type limits struct {
	// Calls of the model. It bounds memory, because each call that succeeds is remembered.
	stepsMax int
	timeMax  time.Duration
}

func main() {
	modelName := flag.String("model", "key-value", "what the operations are on: key-value or register")
	stepsMax := flag.Int("steps-max", 5_000_000, "steps of the model for one key; a key that needs more is undecided")
	secondsMax := flag.Float64("seconds-max", 60, "seconds for one key; a key that needs more is undecided")
	flag.Parse()
	if err := run(*modelName, limits{*stepsMax, time.Duration(*secondsMax * float64(time.Second))}, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func run(modelName string, limits limits, places []string) error {
	if limits.stepsMax < 1 || limits.timeMax <= 0 {
		return fmt.Errorf("-steps-max and -seconds-max must be above 0: without a limit a search may never end")
	}
	kind, known := kinds[modelName]
	if !known {
		return fmt.Errorf("-model must be key-value or register, not %q", modelName)
	}
	files, err := filesIn(places)
	if err != nil {
		return err
	}
	output := json.NewEncoder(os.Stdout)
	for _, file := range files {
		history, err := readHistory(file, kind)
		if err != nil {
			return err
		}
		if err := output.Encode(checkHistory(file, history, kind.model(), limits)); err != nil {
			return err
		}
	}
	return nil
}

// filesIn lists the files given, and those in the directories given whose names end in .jsonl.
func filesIn(places []string) ([]string, error) {
	var files []string
	for _, place := range places {
		info, err := os.Stat(place)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, place)
			continue
		}
		entries, err := os.ReadDir(place)
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			if strings.HasSuffix(entry.Name(), ".jsonl") {
				files = append(files, filepath.Join(place, entry.Name()))
			}
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no history to check: name files, or directories with files that end in .jsonl")
	}
	return files, nil
}

// checkHistory checks each key alone: a history is linearizable if and only if that of each of its keys is.
func checkHistory(file string, history []operation, model porcupine.Model, limits limits) result {
	began := time.Now()
	keys := map[string][]porcupine.Operation{}
	found := result{File: file, Verdict: linearizable, Reasons: []string{}}
	for _, operation := range history {
		keys[operation.key] = append(keys[operation.key], operation.Operation)
		found.Operations++
		if operation.isUnknown {
			found.Unknown++
		}
	}
	found.Keys = len(keys)
	verdicts := map[string][]string{}
	for key, operations := range keys {
		verdict := checkKey(operations, model, limits)
		verdicts[verdict] = append(verdicts[verdict], key)
	}
	for _, verdict := range []string{notLinearizable, undecided} {
		if len(verdicts[verdict]) > 0 {
			found.Verdict = verdict
			found.Reasons = verdicts[verdict]
			sort.Strings(found.Reasons)
			break
		}
	}
	found.Ms = float64(time.Since(began).Microseconds()) / 1000
	return found
}

// checkKey decides whether the operations on one key are linearizable.
func checkKey(operations []porcupine.Operation, model porcupine.Model, limits limits) string {
	steps := 0
	step := model.Step
	// Porcupine has a limit of time but none of steps. Beyond the limit every step is refused, which ends the search
	// soon; what it then says is not used.
	model.Step = func(state, input, output interface{}) (bool, interface{}) {
		steps++
		if steps > limits.stepsMax {
			return false, state
		}
		return step(state, input, output)
	}
	verdict := porcupine.CheckOperationsTimeout(model, operations, limits.timeMax)
	// In this order: the search of a history that timed out may still be running, and counting steps.
	if verdict == porcupine.Unknown || steps > limits.stepsMax {
		return undecided
	}
	if verdict == porcupine.Ok {
		return linearizable
	}
	return notLinearizable
}
