"""Answers, as JSON lines, what supervisord and Python make of a question.

Each line of standard input is a JSON list of a verb and its argument. A config
may name directories and users that are not on this machine.
"""
import io
import json
import os
import shlex
import sys

from supervisor import datatypes, options


def anything(value):
    return os.path.expanduser(value)


for module in (datatypes, options):
    module.existing_dirpath = anything
    module.existing_directory = anything
    module.name_to_uid = str


def plain(value):
    if isinstance(value, str) or value is None:
        return value
    return "AUTO"  # the class Automatic


def process(group, config):
    return {
        "group": group.name,
        "name": config.name,
        "argv": shlex.split(config.command),
        "env": config.environment,
        "directory": config.directory,
        "user": config.uid,
        "umask": config.umask,
        "priority": config.priority,
        "autostart": config.autostart,
        "autorestart": config.autorestart if isinstance(config.autorestart, bool) else config.autorestart.__name__,
        "startsecs": config.startsecs,
        "startretries": config.startretries,
        "exitcodes": config.exitcodes,
        "stopsignal": int(config.stopsignal),
        "stopwaitsecs": config.stopwaitsecs,
        "redirect_stderr": config.redirect_stderr,
        "stdout_logfile": plain(config.stdout_logfile),
        "stderr_logfile": plain(config.stderr_logfile),
        "stdout_logfile_maxbytes": config.stdout_logfile_maxbytes,
        "stdout_logfile_backups": config.stdout_logfile_backups,
    }


def load(path):
    server = options.ServerOptions()
    server.configfile = path
    server.here = os.path.abspath(os.path.dirname(path))
    section = server.read_config(path)
    return [
        process(group, config)
        for group in section.process_group_configs
        if type(group) is options.ProcessGroupConfig
        for config in group.process_configs
        if type(config) is options.ProcessConfig
    ]


def ini(text):
    parser = options.UnhosedConfigParser()
    # As if from a file: there every kind of line end is a "\n".
    parser.read_file(io.StringIO(io.TextIOWrapper(io.BytesIO(text.encode()), "utf-8").read()))
    return [[name, [list(item) for item in parser._sections[name].items()]] for name in parser.sections()]


def pairs(text):
    return list(datatypes.dict_of_key_value_pairs(text).items())


def expand(argument):
    text, names = argument
    return options.expand(text, names, "text")


verbs = {"load": load, "ini": ini, "split": shlex.split, "pairs": pairs, "expand": expand}

for line in sys.stdin:
    verb, argument = json.loads(line)
    try:
        answer = {"value": verbs[verb](argument)}
    except Exception as problem:  # what is refused is an answer
        answer = {"refused": "%s: %s" % (type(problem).__name__, problem)}
    print(json.dumps(answer))
