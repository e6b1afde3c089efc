package broker

import (
	"encoding/json"
	"time"
)

// Body is what the body of a task's message has. Only a broker that keeps its messages in
// the format of another program looks into it.
type Body struct {
	Params    json.RawMessage `json:"params"`               // an object
	TimeLimit float64         `json:"time_limit,omitempty"` // seconds
	Pushed    time.Time       `json:"pushed_at,omitzero"`   // zero where nobody has noted it
}
