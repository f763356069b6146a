package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"sort"

	"github.com/anishathalye/porcupine"
)

// operation is one call that had an effect, or may have had one.
type operation struct {
	porcupine.Operation
	key       string
	isUnknown bool
}

// kind is a kind of object that histories are about.
type kind struct {
	// decode reads the input and the output of one call. The output is nil if the outcome is unknown.
	decode func(input, output json.RawMessage) (call, error)
	model  func() porcupine.Model
}

// call is the part of an operation that depends on the kind of object.
type call struct {
	key           string
	input, output interface{}
}

var kinds = map[string]kind{
	"key-value": {decodeKeyValue, keyValueModel},
	"register":  {decodeRegister, registerModel},
}

// line is a line of a history file. See docs/histories.md.
type line struct {
	Id         *int            `json:"id"`
	Client     *string         `json:"client"`
	Input      json.RawMessage `json:"input"`
	CalledAt   *float64        `json:"calledAt"`
	Outcome    string          `json:"outcome"`
	ReturnedAt *float64        `json:"returnedAt"`
	Output     json.RawMessage `json:"output"`
}

// readHistory reads the operations of a history file, without those that surely had no effect.
func readHistory(file string, kind kind) ([]operation, error) {
	opened, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	var lines []line
	var operations []operation
	clients := map[string]int{}
	reader := bufio.NewReader(opened)
	for number := 1; ; number++ {
		text, readErr := reader.ReadBytes('\n')
		if readErr != nil && !errors.Is(readErr, io.EOF) {
			return nil, readErr
		}
		if len(bytes.TrimSpace(text)) > 0 {
			parsed, decoded, err := parseLine(text, kind)
			if err != nil {
				return nil, fmt.Errorf("%s: line %d is no operation: %w", file, number, err)
			}
			if parsed.Outcome != "not-done" {
				if _, known := clients[*parsed.Client]; !known {
					clients[*parsed.Client] = len(clients)
				}
				lines = append(lines, parsed)
				operations = append(operations, operation{
					Operation: porcupine.Operation{
						ClientId: clients[*parsed.Client],
						Input:    decoded.input,
						Output:   decoded.output,
					},
					key:       decoded.key,
					isUnknown: parsed.Outcome == "unknown",
				})
			}
		}
		if readErr != nil {
			break
		}
	}
	setTimes(operations, lines)
	return operations, nil
}

func parseLine(text []byte, kind kind) (line, call, error) {
	var parsed line
	if err := decodeStrictly(text, &parsed); err != nil {
		return parsed, call{}, err
	}
	if parsed.Id == nil || parsed.Client == nil || parsed.CalledAt == nil || parsed.Input == nil {
		return parsed, call{}, errors.New("it must have id, client, input and calledAt")
	}
	switch parsed.Outcome {
	case "done":
		if parsed.ReturnedAt == nil || parsed.Output == nil {
			return parsed, call{}, errors.New("a call that is done must have returnedAt and output")
		}
		if *parsed.ReturnedAt < *parsed.CalledAt {
			return parsed, call{}, errors.New("it returned before it was called")
		}
	case "unknown", "not-done":
		if parsed.ReturnedAt != nil || parsed.Output != nil {
			return parsed, call{}, errors.New("only a call that is done has returnedAt and output")
		}
	default:
		return parsed, call{}, fmt.Errorf(`outcome must be "done", "unknown" or "not-done", not %q`, parsed.Outcome)
	}
	decoded, err := kind.decode(parsed.Input, parsed.Output)
	return parsed, decoded, err
}

// setTimes gives the operations their times. Porcupine's times are integers, those of a history are not: each time is
// replaced by its rank among all times of the history, which keeps the order and which times are equal. An operation of
// unknown outcome returns at the end of time. There it can always be placed, so that it may also have no effect that
// anyone saw.
func setTimes(operations []operation, lines []line) {
	var times []float64
	for _, line := range lines {
		times = append(times, *line.CalledAt)
		if line.ReturnedAt != nil {
			times = append(times, *line.ReturnedAt)
		}
	}
	sort.Float64s(times)
	rankOf := func(time float64) int64 { return int64(sort.SearchFloat64s(times, time)) }
	for at, line := range lines {
		operations[at].Call = rankOf(*line.CalledAt)
		operations[at].Return = math.MaxInt64
		if line.ReturnedAt != nil {
			operations[at].Return = rankOf(*line.ReturnedAt)
		}
	}
}

// decodeStrictly refuses fields that it doesn't know: a condition that was ignored would make a wrong verdict.
func decodeStrictly(text []byte, into interface{}) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON object")
	}
	return nil
}

// optional tells a field that is left out (not given) from one that is null (given, and nothing).
type optional[T any] struct {
	given   bool
	nothing bool
	value   T
}

func (field *optional[T]) UnmarshalJSON(text []byte) error {
	field.given = true
	if string(text) == "null" {
		field.nothing = true
		return nil
	}
	return json.Unmarshal(text, &field.value)
}
