package wire

import "strconv"

// Magic says which way a packet goes.
type Magic uint32

// The two magics, as the first four bytes of a packet in big-endian.
const (
	Request  Magic = 0x00524551 // "\0REQ": to a job server
	Response Magic = 0x00524553 // "\0RES": from a job server
)

// String returns what the magic stands for, for people.
func (m Magic) String() string {
	if m == Request {
		return "request"
	}
	return "response"
}

// Type is the type of a packet.
type Type uint32

// The types of packets. Numbers 0 and 5 are not in use.
const (
	CanDo           Type = 1  // function
	CantDo          Type = 2  // function
	ResetAbilities  Type = 3  // no argument
	PreSleep        Type = 4  // no argument
	Noop            Type = 6  // no argument
	SubmitJob       Type = 7  // function, unique, workload
	JobCreated      Type = 8  // handle
	GrabJob         Type = 9  // no argument
	NoJob           Type = 10 // no argument
	JobAssign       Type = 11 // handle, function, workload
	WorkStatus      Type = 12 // handle, numerator, denominator
	WorkComplete    Type = 13 // handle, result
	WorkFail        Type = 14 // handle
	GetStatus       Type = 15 // handle
	EchoReq         Type = 16 // anything
	EchoRes         Type = 17 // the same
	SubmitJobBg     Type = 18 // function, unique, workload
	Error           Type = 19 // code, text
	StatusRes       Type = 20 // handle, known, running, numerator, denominator
	SubmitJobHigh   Type = 21 // function, unique, workload
	SetClientID     Type = 22 // id
	CanDoTimeout    Type = 23 // function, time limit: seconds in PROTOCOL, milliseconds in gearmand
	AllYours        Type = 24 // no argument
	WorkException   Type = 25 // handle, exception
	OptionReq       Type = 26 // name of the option
	OptionRes       Type = 27 // the same
	WorkData        Type = 28 // handle, data
	WorkWarning     Type = 29 // handle, warning
	GrabJobUniq     Type = 30 // no argument
	JobAssignUniq   Type = 31 // handle, function, unique, workload
	SubmitJobHighBg Type = 32 // function, unique, workload
	SubmitJobLow    Type = 33 // function, unique, workload
	SubmitJobLowBg  Type = 34 // function, unique, workload
	SubmitJobSched  Type = 35 // function, unique, minute, hour, day of month, month, day of week, workload
	SubmitJobEpoch  Type = 36 // function, unique, Unix time, workload
	SubmitReduce    Type = 37 // function, unique, reducer, aggregator, workload
	SubmitReduceBg  Type = 38 // function, unique, reducer, aggregator, workload
	GrabJobAll      Type = 39 // no argument
	JobAssignAll    Type = 40 // handle, function, unique, reducer, workload
	GetStatusUnique Type = 41 // unique
	StatusResUnique Type = 42 // unique, known, running, numerator, denominator, clients
)

// way says in which of the two directions a type is used.
type way uint8

const (
	toServer   way = 1 << iota // of a client or a worker
	fromServer                 // to a client or a worker
)

// form is what a packet of a type looks like.
type form struct {
	name string // as in PROTOCOL
	way  way
	args int // how many arguments it has
}

// maxArgs is the largest number of arguments a packet has: SUBMIT_JOB_SCHED's.
const maxArgs = 8

var forms = [...]form{
	CanDo:           {"CAN_DO", toServer, 1},
	CantDo:          {"CANT_DO", toServer, 1},
	ResetAbilities:  {"RESET_ABILITIES", toServer, 0},
	PreSleep:        {"PRE_SLEEP", toServer, 0},
	Noop:            {"NOOP", fromServer, 0},
	SubmitJob:       {"SUBMIT_JOB", toServer, 3},
	JobCreated:      {"JOB_CREATED", fromServer, 1},
	GrabJob:         {"GRAB_JOB", toServer, 0},
	NoJob:           {"NO_JOB", fromServer, 0},
	JobAssign:       {"JOB_ASSIGN", fromServer, 3},
	WorkStatus:      {"WORK_STATUS", toServer | fromServer, 3},
	WorkComplete:    {"WORK_COMPLETE", toServer | fromServer, 2},
	WorkFail:        {"WORK_FAIL", toServer | fromServer, 1},
	GetStatus:       {"GET_STATUS", toServer, 1},
	EchoReq:         {"ECHO_REQ", toServer, 1},
	EchoRes:         {"ECHO_RES", fromServer, 1},
	SubmitJobBg:     {"SUBMIT_JOB_BG", toServer, 3},
	Error:           {"ERROR", fromServer, 2},
	StatusRes:       {"STATUS_RES", fromServer, 5},
	SubmitJobHigh:   {"SUBMIT_JOB_HIGH", toServer, 3},
	SetClientID:     {"SET_CLIENT_ID", toServer, 1},
	CanDoTimeout:    {"CAN_DO_TIMEOUT", toServer, 2},
	AllYours:        {"ALL_YOURS", toServer, 0},
	WorkException:   {"WORK_EXCEPTION", toServer | fromServer, 2},
	OptionReq:       {"OPTION_REQ", toServer, 1},
	OptionRes:       {"OPTION_RES", fromServer, 1},
	WorkData:        {"WORK_DATA", toServer | fromServer, 2},
	WorkWarning:     {"WORK_WARNING", toServer | fromServer, 2},
	GrabJobUniq:     {"GRAB_JOB_UNIQ", toServer, 0},
	JobAssignUniq:   {"JOB_ASSIGN_UNIQ", fromServer, 4},
	SubmitJobHighBg: {"SUBMIT_JOB_HIGH_BG", toServer, 3},
	SubmitJobLow:    {"SUBMIT_JOB_LOW", toServer, 3},
	SubmitJobLowBg:  {"SUBMIT_JOB_LOW_BG", toServer, 3},
	SubmitJobSched:  {"SUBMIT_JOB_SCHED", toServer, maxArgs},
	SubmitJobEpoch:  {"SUBMIT_JOB_EPOCH", toServer, 4},
	SubmitReduce:    {"SUBMIT_REDUCE_JOB", toServer, 5},
	SubmitReduceBg:  {"SUBMIT_REDUCE_JOB_BACKGROUND", toServer, 5},
	GrabJobAll:      {"GRAB_JOB_ALL", toServer, 0},
	JobAssignAll:    {"JOB_ASSIGN_ALL", fromServer, 5},
	GetStatusUnique: {"GET_STATUS_UNIQUE", toServer, 1},
	StatusResUnique: {"STATUS_RES_UNIQUE", fromServer, 6},
}

// Known reports whether there is such a type.
func (t Type) Known() bool { return int64(t) < int64(len(forms)) && forms[t].way != 0 }

// String returns the name of the type as the protocol has it, such as
// "SUBMIT_JOB".
func (t Type) String() string {
	if !t.Known() {
		return "type " + strconv.FormatUint(uint64(t), 10)
	}
	return forms[t].name
}

// Args returns how many arguments a packet of the type has; 0 for an unknown
// type.
func (t Type) Args() int {
	if !t.Known() {
		return 0
	}
	return forms[t].args
}

// Goes reports whether packets of the type go the way that m says. Those that
// workers send about their jobs go both ways: the server passes them on.
func (t Type) Goes(m Magic) bool {
	if !t.Known() {
		return false
	}
	want := toServer
	if m == Response {
		want = fromServer
	}
	return forms[t].way&want != 0
}
