package leptir

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// phpEncodes reads JSON values, a line each, and writes each as PHP does.
const phpEncodes = `while (($line = fgets(STDIN)) !== false) {
	echo json_encode(json_decode($line, false, 512, JSON_THROW_ON_ERROR), JSON_THROW_ON_ERROR), "\n";
}`

// phpTask builds the documents of some tasks from the values that leptir builds them from.
const phpTask = `function task($cn, $pr, $tl, $at, $id, $parameters) {
	$td = new ArrayObject(['id' => $id, 'parameters' => $parameters]);
	$o = new ArrayObject();
	$o['cn'] = $cn; $o['pr'] = $pr; $o['tl'] = $tl; $o['toex'] = $at ? $at->getTimestamp() : ''; $o['td'] = $td;
	echo json_encode($o), "\n";
}
task('Leptir\Task\Test\TestTask', 0, 0, null, '10577529e96d5eb0225.50827478', []);
task('App\Grüße', -1, 30, new DateTime('@1386125013'), 'x/y', ['to' => 'ann@example.org', 'überschrift' => "a\"b\\c/d\u{1F600}\x7f\t", 'n' => 5, 'f' => 0.1, 'g' => 2.0, 'h' => 1e-7, 'l' => [1, [], null, true], 'o' => ['5' => 1, 'a' => false]]);`

// runPHP runs a program in PHP and returns the lines of its output.
func runPHP(tb testing.TB, program, input string) []string {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), "php", "-r", program)
	cmd.Stdin = strings.NewReader(input)
	var diagnostics bytes.Buffer
	cmd.Stderr = &diagnostics
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("php: %v\n%s%s", err, out, diagnostics.String())
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

// TestDocumentsOfPHP: what leptir in PHP writes is read, and written again to the byte.
func TestDocumentsOfPHP(t *testing.T) {
	want := []Document{
		{Class: `Leptir\Task\Test\TestTask`, ID: "10577529e96d5eb0225.50827478"},
		{
			Class: `App\Grüße`, Priority: -1, TimeLimit: 30 * time.Second, At: time.Unix(1386125013, 0), ID: "x/y",
			Parameters: []byte(`{"to":"ann@example.org","überschrift":"a\"b\\c/d` + "\U0001F600\x7f" + `\t","n":5,"f":0.1,"g":2,"h":1e-7,"l":[1,[],null,true],"o":{"5":1,"a":false}}`),
		},
	}
	lines := runPHP(t, phpTask, "")
	if len(lines) != len(want) {
		t.Fatalf("PHP says %q", lines)
	}
	for i, line := range lines {
		got, err := want[i].Encode()
		if err != nil || string(got) != line {
			t.Errorf("written:\n%s (%v), PHP writes\n%s", got, err, line)
		}
		read, err := Decode([]byte(line))
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if again, err := read.Encode(); err != nil || string(again) != line {
			t.Errorf("written again:\n%s (%v), it was\n%s", again, err, line)
		}
	}
}

// TestValuesAsPHP: every value is written as PHP writes it.
func TestValuesAsPHP(t *testing.T) {
	values := []string{
		"null", "true", "0", "-0", "-0.0", "1.0", "1e0", "100000.0", "1e15", "1e16", "1e17", "1.5e17", "0.0001", "0.00012345", "0.00001", "123456789012345680000.0",
		"9223372036854775807", "-9223372036854775808", "5e-324", "1.7976931348623157e308", `""`, `"\u0000\u001f\u007f\u0080\u2028\ud83d\ude00<>&'"`, `"\/\"\\\b\f\n\r\t"`, "[]", "{}", "[[],{}]",
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		value, err := json.Marshal(randomValue(random, 4))
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, string(value), strconv.FormatFloat(math.Float64frombits(random.Uint64()&^(1<<62)), 'e', -1, 64))
	}
	for i, line := range runPHP(t, phpEncodes, strings.Join(values, "\n")+"\n") {
		got, err := EncodeValue([]byte(values[i]))
		if err != nil || string(got) != line {
			t.Errorf("%s:\n%s (%v), PHP writes\n%s", values[i], got, err, line)
		}
	}
}

// randomValue returns some value of JSON.
func randomValue(random *rand.Rand, depth int) any {
	switch choice := random.IntN(8); {
	case depth > 0 && choice < 2:
		list := make([]any, random.IntN(4))
		for i := range list {
			list[i] = randomValue(random, depth-1)
		}
		return list
	case depth > 0 && choice < 4:
		object := map[string]any{}
		for i := range random.IntN(4) {
			object[fmt.Sprint(i, randomText(random))] = randomValue(random, depth-1)
		}
		return object
	case choice == 4:
		return random.Int64() >> random.IntN(64)
	case choice == 5:
		f := random.NormFloat64() * math.Pow(10, float64(random.IntN(40)-20))
		return json.Number(strconv.FormatFloat(f, 'e', -1, 64)) // not as an integer that PHP has no room for
	case choice == 6:
		return []any{nil, true, false}[random.IntN(3)]
	default:
		return randomText(random)
	}
}

func randomText(random *rand.Rand) string {
	runes := make([]rune, random.IntN(6))
	for i := range runes {
		runes[i] = []rune{rune(random.IntN(0x80)), rune(random.IntN(0xd800)), rune(0x10000 + random.IntN(0x100000))}[random.IntN(3)]
	}
	return string(runes)
}
