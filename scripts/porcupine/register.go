package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/anishathalye/porcupine"
)

type registerInput struct {
	Type  string           `json:"type"`
	Key   string           `json:"key"`
	Value optional[scalar] `json:"value"`
	From  optional[scalar] `json:"from"`
	To    optional[scalar] `json:"to"`
}

// registerOutput is what a register answered. What is left out is not checked.
type registerOutput struct {
	Value   optional[scalar] `json:"value"`
	Swapped optional[bool]   `json:"swapped"`
}

// scalar is a register's value: a string, a number or a boolean; nil is nothing.
type scalar struct{ held interface{} }

func (value *scalar) UnmarshalJSON(text []byte) error {
	if err := json.Unmarshal(text, &value.held); err != nil {
		return err
	}
	switch value.held.(type) {
	case string, float64, bool:
		return nil
	}
	return fmt.Errorf("a register holds a string, a number, a boolean or null, not %s", text)
}

func decodeRegister(input, output json.RawMessage) (call, error) {
	var in registerInput
	if err := decodeStrictly(input, &in); err != nil {
		return call{}, fmt.Errorf("input: %w", err)
	}
	switch in.Type {
	case "read":
	case "write":
		if !in.Value.given {
			return call{}, errors.New("input: a write must have a value")
		}
	case "compare-and-set":
		if !in.From.given || !in.To.given {
			return call{}, errors.New("input: a compare-and-set must have from and to")
		}
	default:
		return call{}, fmt.Errorf("input: type must be read, write or compare-and-set, not %q", in.Type)
	}
	if output == nil {
		return call{in.Key, in, nil}, nil
	}
	var out registerOutput
	if err := decodeStrictly(output, &out); err != nil {
		return call{}, fmt.Errorf("output: %w", err)
	}
	return call{in.Key, in, out}, nil
}

// registerModel is one register to read, write, and compare-and-set. Its state is the value that it holds.
func registerModel() porcupine.Model {
	return porcupine.Model{
		Init: func() interface{} { return scalar{} },
		Step: func(state, input, output interface{}) (bool, interface{}) {
			held, in := state.(scalar), input.(registerInput)
			// The zero value checks nothing, which is what an unknown outcome tells.
			out, _ := output.(registerOutput)
			switch in.Type {
			case "read":
				return !out.Value.given || out.Value.value == held, held
			case "write":
				return true, in.Value.value
			default:
				swaps := in.From.value == held
				if out.Swapped.given && out.Swapped.value != swaps {
					return false, held
				}
				if swaps {
					return true, in.To.value
				}
				return true, held
			}
		},
	}
}
