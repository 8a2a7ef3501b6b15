"""Other programs that the script calls: one that would remove or write over an old file is not run."""

import functools
import os
import re
import shlex
import subprocess

REMOVING = {"rm", "rmdir", "mv", "shred", "truncate", "unlink", "tee"}     # programs, and which arguments they change:
COPYING = {"cp", "ln", "install", "rsync"}                                  # all of them, or the last
NOTHING = ("cd .", "true")[os.name == "posix"]      # a command that succeeds


def watch(old_files):
    run, system = subprocess.Popen.__init__, os.system

    @functools.wraps(run)
    def init(process, args, *others, **kwargs):
        if writes_over(old_files, args):
            args, kwargs["shell"] = NOTHING, True
        run(process, args, *others, **kwargs)

    @functools.wraps(system)
    def called(command):
        return 0 if writes_over(old_files, command) else system(command)

    subprocess.Popen.__init__, os.system = init, called


def writes_over(old_files, command):
    """Would this command, a line for the shell or a list of words, change or remove an old file?"""
    if isinstance(command, (str, bytes)):
        try:
            lexer = shlex.shlex(os.fsdecode(command), posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words = list(lexer)
        except ValueError:
            words = os.fsdecode(command).split()
    else:
        words = [os.fsdecode(word) for word in command if isinstance(word, (str, bytes, os.PathLike))]
        if len(words) > 2 and words[1] == "-c" and os.path.basename(words[0]) in ("sh", "bash", "zsh"):
            return writes_over(old_files, words[2])
    return any(map(functools.partial(is_old, old_files), changed(words)))


def changed(words):
    """The paths that a command's words name for change."""
    found = [after for word, after in zip(words, words[1:]) if re.fullmatch(r"[0-9&]?>{1,2}\|?", word)]
    calls, call = [], []
    for word in [*words, ";"]:
        if set(word) <= set(";|&()\n"):
            calls.append(call)
            call = []
        elif call or "=" not in word and word not in ("sudo", "env", "exec", "then", "do"):
            call.append(word)
    for call in filter(None, calls):
        program, arguments = os.path.basename(call[0]), [word for word in call[1:] if not word.startswith("-")]
        if program in REMOVING:
            found += arguments
        elif program in COPYING and len(arguments) > 1:
            *sources, target = arguments
            found += [os.path.join(target, os.path.basename(path)) for path in sources] if os.path.isdir(target) \
                else [target]
    return found


def is_old(old_files, path):
    import glob
    places = glob.glob(os.path.expanduser(os.path.expandvars(path))) or [path]
    return any(old_files.holds_old(place) for place in places)
