package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/anishathalye/porcupine"
)

type keyValueInput struct {
	Type  string           `json:"type"`
	Key   *string          `json:"key"`
	Value optional[string] `json:"value"`
	// Only if the key has this version; null: only if the key does not exist.
	IfVersion optional[float64] `json:"ifVersion"`
	From      optional[string]  `json:"from"`
	To        optional[string]  `json:"to"`
}

// keyValueOutput is what the store answered. What is left out is not checked, except that a change without `applied`
// was applied.
type keyValueOutput struct {
	Value   optional[string]  `json:"value"`
	Version optional[float64] `json:"version"`
	Applied optional[bool]    `json:"applied"`
	Existed optional[bool]    `json:"existed"`
}

func decodeKeyValue(input, output json.RawMessage) (call, error) {
	var in keyValueInput
	if err := decodeStrictly(input, &in); err != nil {
		return call{}, fmt.Errorf("input: %w", err)
	}
	if in.Key == nil {
		return call{}, errors.New("input: there is no key")
	}
	switch in.Type {
	case "get":
	case "put":
		if !in.Value.given || in.Value.nothing {
			return call{}, errors.New("input: a put must have a value")
		}
	case "delete":
		if in.IfVersion.nothing {
			return call{}, errors.New("input: the ifVersion of a delete must be a number")
		}
	case "compare-and-set":
		if !in.From.given || !in.To.given || in.IfVersion.given {
			return call{}, errors.New("input: a compare-and-set must have from and to, and no ifVersion")
		}
	default:
		return call{}, fmt.Errorf("input: type must be get, put, delete or compare-and-set, not %q", in.Type)
	}
	if output == nil {
		return call{*in.Key, in, nil}, nil
	}
	var out keyValueOutput
	if err := decodeStrictly(output, &out); err != nil {
		return call{}, fmt.Errorf("output: %w", err)
	}
	if out.Version.nothing || out.Applied.nothing || out.Existed.nothing {
		return call{}, errors.New("output: version, applied and existed are left out if they are not known, not null")
	}
	return call{*in.Key, in, out}, nil
}

// keyValueState is what is known about one key. Comparable: two states are equal if no operation can tell them apart.
type keyValueState struct {
	// What the key holds; an empty value with exists false: nothing.
	exists bool
	value  string
	// The version of the value. Meaningless if the key doesn't exist.
	isVersionKnown bool
	version        float64
	// The greatest version that this key is known to have had; the version of each later change is greater.
	versionFloor float64
	// While the version isn't known: the versions above the floor that it can't be, because a change on the condition
	// of that version was refused. Ascending, separated by commas.
	notVersions string
}

func keyValueModel() porcupine.Model {
	seed := maphash.MakeSeed()
	return porcupine.Model{
		Init: func() interface{} { return keyValueState{versionFloor: math.Inf(-1)} },
		Step: func(state, input, output interface{}) (bool, interface{}) {
			held, in := state.(keyValueState), input.(keyValueInput)
			out, isKnown := output.(keyValueOutput)
			next, isPossible := stepKeyValue(held, in, out, isKnown)
			return isPossible, next
		},
		Hash: func(state interface{}) uint64 {
			held := state.(keyValueState)
			return maphash.String(seed, held.value) ^ math.Float64bits(held.version)*31 ^
				math.Float64bits(held.versionFloor)*37
		},
	}
}

// stepKeyValue returns the state after the operation, and whether it can answer so in this state.
func stepKeyValue(held keyValueState, in keyValueInput, out keyValueOutput, isKnown bool) (keyValueState, bool) {
	if in.Type == "get" {
		return stepGet(held, out, isKnown)
	}
	if !isKnown {
		// Done if its condition can hold, and otherwise refused. That it wasn't done at all is the same as that it
		// came after everything else.
		if before, holds := conditionHolds(held, in); holds {
			return changed(before, in, optional[float64]{}), true
		}
		return held, true
	}
	if out.Applied.given && !out.Applied.value {
		return conditionFails(held, in)
	}
	before, holds := conditionHolds(held, in)
	if !holds {
		return held, false
	}
	if out.Existed.given && out.Existed.value != before.exists {
		return held, false
	}
	if out.Version.given && out.Version.value <= before.versionFloor {
		return held, false
	}
	return changed(before, in, out.Version), true
}

func stepGet(held keyValueState, out keyValueOutput, isKnown bool) (keyValueState, bool) {
	if !isKnown {
		return held, true
	}
	if out.Value.given && !is(held, out.Value) {
		return held, false
	}
	if out.Version.given {
		return withVersion(held, out.Version.value)
	}
	return held, true
}

// changed is the state after a change that is done.
func changed(before keyValueState, in keyValueInput, version optional[float64]) keyValueState {
	after := keyValueState{versionFloor: before.versionFloor}
	if version.given {
		after.versionFloor = version.value
	}
	var value optional[string]
	switch in.Type {
	case "put":
		value = in.Value
	case "compare-and-set":
		value = in.To
	}
	if !value.given || value.nothing {
		return after
	}
	after.exists, after.value = true, value.value
	after.isVersionKnown, after.version = version.given, version.value
	return after
}

// conditionHolds tells whether the condition of a change can hold in this state, and what is known then.
func conditionHolds(held keyValueState, in keyValueInput) (keyValueState, bool) {
	if in.Type == "compare-and-set" {
		return held, is(held, in.From)
	}
	if !in.IfVersion.given {
		return held, true
	}
	if in.IfVersion.nothing {
		return held, !held.exists
	}
	return withVersion(held, in.IfVersion.value)
}

// conditionFails tells whether the condition of a change can fail in this state, and what is known then.
func conditionFails(held keyValueState, in keyValueInput) (keyValueState, bool) {
	if in.Type == "compare-and-set" {
		return held, !is(held, in.From)
	}
	if !in.IfVersion.given {
		return held, false
	}
	if in.IfVersion.nothing {
		return held, held.exists
	}
	if !held.exists {
		return held, true
	}
	if held.isVersionKnown {
		return held, held.version != in.IfVersion.value
	}
	return withoutVersion(held, in.IfVersion.value), true
}

// is tells whether the key holds this value, or, if it is null, nothing.
func is(held keyValueState, value optional[string]) bool {
	if value.nothing {
		return !held.exists
	}
	return held.exists && held.value == value.value
}

// withVersion is the state, now that its version is known; false: it can't be its version.
func withVersion(held keyValueState, version float64) (keyValueState, bool) {
	if !held.exists {
		return held, false
	}
	if held.isVersionKnown {
		return held, held.version == version
	}
	if version <= held.versionFloor || slices.Contains(strings.Split(held.notVersions, ","), textOf(version)) {
		return held, false
	}
	return keyValueState{
		exists: true, value: held.value,
		isVersionKnown: true, version: version,
		versionFloor: version,
	}, true
}

// withoutVersion is the state, now that this is known not to be its version.
func withoutVersion(held keyValueState, version float64) keyValueState {
	if version <= held.versionFloor {
		return held
	}
	var versions []string
	if held.notVersions != "" {
		versions = strings.Split(held.notVersions, ",")
	}
	if slices.Contains(versions, textOf(version)) {
		return held
	}
	versions = append(versions, textOf(version))
	slices.Sort(versions)
	held.notVersions = strings.Join(versions, ",")
	return held
}

func textOf(version float64) string {
	return strconv.FormatFloat(version, 'g', -1, 64)
}
