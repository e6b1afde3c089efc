package cli

import (
	"errors"
	goio "io"

	"github.com/rs/zerolog"

	"procops/internal/app"
	"procops/internal/logging"
)

// openLog opens the log of a command, which is closed with its App; stderr is where it goes
// unless the config names a file.
func openLog(stderr goio.Writer, a *app.App) (log zerolog.Logger, err error) {
	cfg := a.Config.Log
	files, err := openRunFiles(cfg, "")
	if err != nil {
		return log, err
	}
	if files.log != nil {
		log, err = logging.New(files.log, cfg.Level, cfg.Format)
	} else {
		log, err = logging.New(stderr, cfg.Level, cfg.Format)
	}
	if err != nil {
		return log, errors.Join(err, files.close())
	}
	a.AtClose("the log", files.close)
	return log, nil
}
