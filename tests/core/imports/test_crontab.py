"""A crontab becomes jobs that do what cron does with it."""

from __future__ import annotations

import re
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.formats.rules import ID_PATTERN
from scheduler.core.imports.commands import command_names, longest_known_wait, shell_options
from scheduler.core.imports.crontab import Shell, Users, crontab_jobs, is_system, read_crontab
from scheduler.core.imports.incoming import Incoming, mapped_id
from scheduler.core.values.problems import Problem, UsageError


def jobs(
    text: str | bytes, *, shell: Shell | None = None, users: Users | None = None
) -> tuple[list[Incoming], list[Problem]]:
    data = text.encode() if isinstance(text, str) else text
    read = read_crontab(data, system=users is not None)
    return crontab_jobs(read, shell=shell or Shell(options=("e", "u")), zone="UTC", root_zone="UTC", users=users)


def only(text: str, *, shell: Shell | None = None) -> Incoming:
    found, problems = jobs(text, shell=shell)
    assert not [each for each in problems if each.is_error]
    (job,) = found
    return job


def errors(text: str | bytes, users: Users | None = None) -> list[tuple[int, str]]:
    return [(each.line, each.code) for each in jobs(text, users=users)[1] if each.is_error]


def ran(job: Incoming, folder: Path, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The task, run as the runner of a root runs it."""
    script = folder / "task"
    script.write_text(job.text or "")
    return subprocess.run(
        [*(argv or ("sh", "-eu")), script],
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin", **env},
        cwd=folder,
        capture_output=True,
        text=True,
    )


def output(job: Incoming, folder: Path) -> str:
    found = ran(job, folder)
    assert found.returncode == 0, found.stderr
    return found.stdout


def as_cron(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What cron's shell makes of a command and the lines behind its first %."""
    command, percent, text = line.replace(r"\%", "\0").partition("%")
    lines = text.replace("%", "\n").replace("\0", "%") + "\n" if percent and text else ""
    return subprocess.run(
        ["/bin/sh", "-c", command.replace("\0", "%").rstrip()],
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"},
        cwd=folder,
        input=lines,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("command", "written"),
    [
        ("cat%one%two", "one\ntwo\n"),
        (r"cat%100\% sure%done", "100% sure\ndone\n"),
        (r"echo 5\%", "5%\n"),
        ("cat%", ""),
        ("cat%END%x", "END\nx\n"),
        ("cat; cat%a", "a\n"),
        ("cat | tr a b%aa", "bb\n"),
        (r"cat%a\b", "a\\b\n"),
        ("false; echo on", "on\n"),
        ("echo $NOT_THERE.", ".\n"),
        ("echo it\\'s; cat # not%this", "it's\nthis\n"),
    ],
)
def test_a_command_gets_the_input_and_the_shell_that_cron_gives_it(command: str, written: str, tmp_path: Path) -> None:
    assert output(only(f"0 3 * * * {command}\n"), tmp_path) == written


COMMANDS = [
    "echo a b",
    "echo 'a  b' \"c  d\"",
    "echo it\\'s",
    "echo a; false; echo b",
    "false || echo no",
    "true && echo yes",
    "false; true",
    "true; false",
    "exit 3",
    "echo $HOME",
    "echo ${NOT_THERE:-default}",
    "echo $NOT_THERE end",
    "echo $(echo inner; false) outer",
    "echo `echo inner`",
    "echo a | tr a b | cat",
    "yes | head -n 1",
    "false | true",
    "true | false",
    "cat nothing-here 2>/dev/null; echo $?",
    "cat nothing-here 2>&1 | wc -l",
    "(echo sub; exit 4); echo $?",
    "{ echo group; echo two; } | cat",
    "if [ -d / ]; then echo dir; fi",
    "for i in 1 2 3; do echo $i; done",
    "while read x; do echo got $x; done%a%b",
    "case x in x) echo case;; esac",
    "[ -x /bin/sh ] && echo there",
    "test -d /nowhere || echo absent",
    "cd /tmp && pwd",
    "pwd | sed s,.*/,,",
    "echo x > f; cat f; rm f",
    "echo x > f && echo y > f && cat f",
    "cat%one%two",
    "cat %",
    r"cat%100\% sure%done",
    r"echo 5\%",
    "cat; cat%a",
    "cat | tr a b%aa",
    r"cat%a\b%$HOME%`x`",
    "cat # not%this",
    "cat # it's%this",
    "cat%END%x",
    "echo $SHELL",
    "echo \"$SHELL\" '$SHELL'",
    "printf '%s' a",
    r"printf '\%s-' a b",
    "set -e; false; echo never",
    "echo a & wait",
    "echo *; echo ?",
    "echo \\",
    "echo a\\",
    "cat\\%x",
    'echo "progress 100% done" and more',
    "echo 'half% done'",
    "tar --version $(date +%F) > /dev/null",
    "echo `date +%F`",
    "echo a &&%x",
    "echo a |%x",
    "(cat%x",
    "{ cat; }%x",
    "cat; }%x",
    "if true; then cat%x",
    "cat <<X%y",
    "cat - /dev/null%y",
    "echo done; exit 7%z",
    "! true",
    "true &",
]


@pytest.mark.parametrize("runner", [("sh", "-eu"), ("bash", "-euo", "pipefail"), ("bash", "-efC")], ids=" ".join)
def test_a_command_does_what_it_does_under_cron(runner: tuple[str, ...], tmp_path: Path) -> None:
    other = []
    for command in COMMANDS:
        # The inherited shell is that of a user who may not log in.
        job = only(
            f"0 3 * * * {command}\n", shell=Shell(name=runner[0], options=shell_options((*runner, "{task_file}")))
        )
        mine, crons = ran(job, tmp_path, *runner, SHELL="/usr/sbin/nologin"), as_cron(command, tmp_path)
        if (mine.returncode, mine.stdout) != (crons.returncode, crons.stdout):
            other.append((command, mine, crons))
    assert other == []


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ('echo "progress 100% done" and more', "a double quote is open"),
        ("echo 'half% done'", "a single quote is open"),
        ("tar czf /b/$(date +%F).tgz /srv", "a parenthesis is open"),
        ("tar czf /b/`date +%F`.tgz /srv", "a backquote is open"),
        ("date +%F > /tmp/day", "import.percent"),
        ("mail -s late joe%Joe,%it's late", None),
        (r'echo "progress 100\% done"', None),
        (r"date +\%F", None),
    ],
)
def test_a_percent_sign_that_was_meant_as_one_is_told(command: str, told: str | None) -> None:
    found, problems = jobs(f"# one\n0 9 * * * {command}\n")
    assert len(found) == 1
    assert not any(each.is_error for each in problems)
    if told is None:
        assert problems == []
    else:
        (warning,) = problems
        assert (warning.line, warning.code) == (2, "import.percent")
        assert told in f"{warning.code} {warning.message}"
        assert r"write \%" in warning.hint


@pytest.mark.parametrize(
    ("settings", "shell"), [("", "/bin/sh"), ("SHELL=/bin/bash\n", "/bin/bash"), ("SHELL=\n", "/bin/sh")]
)
def test_a_command_has_the_shell_of_the_crontab_in_its_environment(settings: str, shell: str, tmp_path: Path) -> None:
    job = only(f"{settings}0 9 * * * env\n")
    assert f"SHELL={shell}\n" in ran(job, tmp_path, SHELL="/usr/sbin/nologin").stdout
    assert only(f"{settings}0 9 * * * env\n", shell=Shell(allowed=("SHELL",))).keys["env"] == {"SHELL": shell}


@pytest.mark.parametrize(
    ("argv", "options"),
    [
        (("sh", "-eu", "{task_file}"), ("e", "u")),
        (("bash", "-euo", "pipefail", "{task_file}"), ("e", "u", "pipefail")),
        (("bash", "-e", "-o", "pipefail", "-o", "noclobber"), ("e", "pipefail", "noclobber")),
        (("bash", "--norc", "-O", "extglob", "+x", "-x", "{task_file}", "-e"), ("x",)),
        (("sh", "--", "-e"), ()),
        (("sh",), ()),
    ],
)
def test_what_a_runner_sets_is_read_from_its_command(argv: tuple[str, ...], options: tuple[str, ...]) -> None:
    assert shell_options(argv) == options


@pytest.mark.parametrize(
    ("options", "command", "line"),
    [
        (("e", "u", "pipefail"), "yes | head -n 1", "set +eu +o pipefail"),
        (("e", "u", "pipefail"), "/bin/a", None),
        (("pipefail",), "a | b", "set +o pipefail"),
        (("e",), "a | b", None),
        (("f",), "ls *.x", "set +f"),
        (("x",), "ls", "set +x"),
        (("h", "B"), "a; b $c", None),
    ],
)
def test_options_of_the_runner_are_taken_back_where_they_could_matter(
    options: tuple[str, ...], command: str, line: str | None
) -> None:
    text = only(f"0 9 * * * {command}\n", shell=Shell(options=options)).text or ""
    assert [each.partition("  #")[0] for each in text.splitlines() if each.startswith("set ")] == (
        [line] if line else []
    )


def test_settings_hold_for_the_lines_below_them(tmp_path: Path) -> None:
    found, _ = jobs('A=1\n0 1 * * * echo $A\nA = " 2 \'"\n\'B\' = x\n0 2 * * * echo "$A$B" $PWD\n')
    assert [output(each, tmp_path) for each in found] == ["1\n", f" 2 'x {tmp_path}\n"]


def test_names_that_the_runner_allows_are_keys_of_the_job() -> None:
    job = only("MODE=calm\nOTHER=x\n@daily run-it\n", shell=Shell(allowed=("MODE",)))
    assert job.keys["env"] == {"MODE": "calm"}
    assert job.text == "export OTHER=x\nexport SHELL=/bin/sh\ncd  # cron starts in the home folder\nrun-it\n"


def test_another_shell_gets_what_only_it_understands(tmp_path: Path) -> None:
    job = only("SHELL=/bin/bash\n@daily [[ a < b ]] && echo ${BASH_VERSION:+bash}\n")
    assert output(job, tmp_path) == "bash\n"
    assert only("SHELL=/bin/bash\n@daily /bin/backup --all > /dev/null 2>&1\n").text == (
        "export SHELL=/bin/bash\ncd  # cron starts in the home folder\n/bin/backup --all > /dev/null 2>&1\n"
    )


@pytest.mark.parametrize(
    ("command", "plain"),
    [
        ("[ -x /usr/sbin/foo ] && /usr/sbin/foo >/dev/null 2>&1", True),
        ("/bin/x && [ -d /srv ]", True),
        ("test -d /srv && echo 'it is there'", True),
        ('echo "good morning" | /opt/test/send', True),
        ("echo -n x", False),
        ("echo 'a\\tb'", False),
        ("[ a == b ] && x", False),
        ("[[ -x /a ]] && /a", False),
        ("[ -v HOME ] && x", False),
        ("diff <(a) <(b)", False),
        ("printf x", False),
        ("echo $RANDOM", False),
        ("a &> b", False),
        ("a |& b", False),
    ],
)
def test_what_every_shell_does_alike_is_left_to_the_runners(command: str, plain: bool) -> None:
    text = only(f"SHELL=/bin/bash\n0 3 * * * {command}\n").text or ""
    head = "export SHELL=/bin/bash\ncd  # cron starts in the home folder\n"
    assert text.startswith(f"{head}/bin/bash -c ") != plain
    assert (f"{head}{command}\n" == text) == plain


def test_the_comment_right_above_a_line_is_its_description() -> None:
    text = (
        "# Edit this file\n# m h  dom mon dow   command\n\n# Nightly backup\n#  of everything\n"
        "0 3 * * * /bin/backup.sh\n"
        "0 4 * * * /bin/other\n# 0 5 * * * /bin/old\n0 6 * * * /bin/new\n"
        "#  .---- minute\n# |  * * *\n0 7 * * * /bin/drawn\n"
    )
    found, _ = jobs(text)
    assert [(each.id, each.keys.get("description")) for each in found] == [
        ("backup", "Nightly backup of everything"),
        ("other", None),
        ("new", None),
        ("drawn", None),
    ]


CRONTAB_E = """\
# Edit this file to introduce tasks to be run by cron.
#
# Each task to run has to be defined through a single line
# indicating with different fields when the task will be run
# and what command to run for the task
#
# To define the time you can provide concrete values for
# minute (m), hour (h), day of month (dom), month (mon),
# and day of week (dow) or use '*' in these fields (for 'any').
#
# For example, you can run a backup of all your user accounts
# at 5 a.m every week with:
# 0 5 * * 1 tar -zcf /var/backups/home.tgz /home/
#
# For more information see the manual pages of crontab(5) and cron(8)
#
# m h  dom mon dow   command
"""


@pytest.mark.parametrize(
    ("comments", "description"),
    [
        (CRONTAB_E, None),
        (CRONTAB_E.replace("# m h  dom mon dow   command\n", ""), None),
        (f"{CRONTAB_E}# Nightly backup\n", "Nightly backup"),
        ("# /etc/crontab: system-wide crontab\n# Unlike any other crontab\n", "Unlike any other crontab"),
        ("# DO NOT EDIT THIS FILE - edit the master and reinstall.\n# (/tmp/c installed on Mon Jan 1)\n", None),
        ("# (Cron version -- $Id: crontab.c,v 2.13 1994/01/17 03:20:37 vixie Exp $)\n", None),
        (("# For details see man 4 crontabs\n\n# Example of job definition:\n# .------ minute (0 - 59)\n"
         "# |  .--- hour (0 - 23)\n# *  *  *  *  * user-name  command to be executed\n"), None),
        ("# +------ minute\n# | +---- hour\n# * * * * * command\n", None),
        ("# BEGIN ANSIBLE MANAGED BLOCK\n", None),
        ("# Begin Whenever generated tasks for: app\n", None),
        ("# END ANSIBLE MANAGED BLOCK\n# Nightly\n", "Nightly"),
        ("# >>> app >>>\n", None),
        ("# minute hour day month weekday command\n", None),
        ("# min hour dom month dow command\n", None),
        ("# MIN\tHOUR\tDAY\tMONTH\tDAYOFWEEK\tCOMMAND\n", None),
        ("# ======\n# Nightly backup\n# ======\n", "Nightly backup"),
        ("# Section one\n#\n# Nightly backup\n# of everything\n", "Nightly backup of everything"),
        ("# Nightly\n# 0 4 * * * /bin/old\n", "Nightly"),
        ("# Begin the day with a report\n", "Begin the day with a report"),
        ("# Minimise the hourly load\n", "Minimise the hourly load"),
        ("# one line\n" * 4, " ".join(["one line"] * 4)),
        ("# one line\n" * 5, None),
    ],
)  # fmt: skip
def test_what_stands_above_a_line_by_chance_is_no_description(comments: str, description: str | None) -> None:
    assert only(f"{comments}0 3 * * * /bin/backup\n").keys.get("description") == description


@pytest.mark.parametrize(
    ("command", "wait"),
    [
        ("test -x /usr/bin/certbot && perl -e 'sleep int(rand(43200))' && certbot -q renew", 43_200),
        ("python3 -c 'import random; import time; time.sleep(random.random() * 3600)' && certbot renew", 3_600),
        ("python3 -c 'import time, random; time.sleep(random.randint(1, 5000))' && x", 5_000),
        ("perl -le 'sleep rand 9000' && x", 9_000),
        ("sleep 3h; x", 10_800),
        ("sleep 1h 30m && x", 5_400),
        ("sleep 1800; a; /bin/sleep 1800; b", 3_600),
        (r"sleep $((RANDOM \% 3600)); x", 3_600),
        ("sleep $(expr $RANDOM % 90)m; x", 5_400),
        ("sleep $(( RANDOM % 60 * 60 )); x", 3_600),
        ("sleep $(shuf -i 1-7200 -n 1); x", 7_200),
        ("sleep `jot -r 1 1 3600`; x", 3_600),
        ("sleep $RANDOM; x", 32_767),
        ("timeout 6h /opt/x", 21_600),
        ("timeout -k 5 90m /opt/x", 5_400),
        ("/opt/x --sleep", 0),
        ("/opt/sleep.sh 9999", 0),
        ("sleep infinity", 0),
        ("sleep 5; x", 5),
    ],
)
def test_how_long_a_command_says_that_it_takes(command: str, wait: int) -> None:
    assert longest_known_wait(command) == timedelta(seconds=wait)


def test_each_job_gets_a_timeout_of_its_own_as_cron_has_none() -> None:
    text = "0 1 * * * /bin/a\n0 2 * * * sleep $((RANDOM \\% 90000)); certbot renew\n0 3 * * * sleep 60; /bin/b\n"
    found, problems = jobs(text)
    assert [(each.id, each.keys.get("timeout")) for each in found] == [("a", "1d"), ("certbot", "1d1h30m"), ("b", "1d")]
    assert problems == []


def test_a_runner_that_allows_less_says_what_it_does_to_a_job() -> None:
    found, problems = jobs("0 1 * * * /bin/a\n", shell=Shell(max_timeout=timedelta(hours=2)))
    assert [each.keys.get("timeout") for each in found] == ["2h"]
    assert [(each.line, each.code, each.is_error) for each in problems] == [(1, "import.timeout", False)]
    assert "ends it after 2h" in problems[0].message
    assert "`timeout: 1d`" in problems[0].hint


def test_a_root_whose_own_timeout_is_as_long_needs_none_in_the_file() -> None:
    read = read_crontab(b"0 1 * * * /bin/a\n", system=False)
    found, _ = crontab_jobs(
        read, shell=Shell(), zone="UTC", root_zone="UTC", users=None, usual=timedelta(days=2), prefix=""
    )
    assert "timeout" not in found[0].keys


@pytest.mark.parametrize(
    ("command", "job_id"),
    [
        (r"test -x /usr/bin/certbot -a \! -d /run/systemd/system && certbot -q renew", "certbot"),
        (r"test -x /usr/bin/c -a \! -d /run && perl -e 'sleep int(rand(43200))' && certbot -q renew", "certbot"),
        ("[ -x /usr/lib/php/sessionclean ] && if [ ! -d /run ]; then /usr/lib/php/sessionclean; fi", "sessionclean"),
        ("command -v debian-sa1 > /dev/null && debian-sa1 1 1", "debian-sa1"),
        ("if [ -x /etc/munin/plugins/apt_all ]; then /etc/munin/plugins/apt_all update; fi", "apt-all"),
        ("[ -e /x ] || exit; /bin/work", "work"),
        ("sleep 30 && /opt/late", "late"),
        (". /etc/profile; backup", "backup"),
        ("sudo -u www /opt/x.sh", "x"),
        ("su - www -c '/opt/sync all'", "sync"),
        ("bash -lc 'cd /x && ./run.sh a'", "run"),
        ("flock -n /tmp/x.lock -c 'echo locked'", "echo-locked"),
        ("timeout -k 5 10m /opt/y", "y"),
        ("/usr/bin/env bash /opt/z.sh", "z"),
        ("python3 -m app.jobs run", "app-jobs"),
        ("java -Xmx1g -jar /opt/app.jar", "app"),
        ("cd /srv/app && php artisan schedule:run", "artisan"),
        ("$HOME/bin/tidy", "tidy"),
        ("> /tmp/log /opt/first", "first"),
        ("(cd /a; ./b)", "b"),
        ("sleep 5", "sleep"),
        ("echo 'no end", "echo-no-end"),
        ("sleep $((RANDOM / 60)); /opt/x $(date)", "x"),
        ("$(x)", "job"),
        ("/usr/local/bin/backup.sh --all", "backup"),
        ("cd /srv/app && ./manage.py sendmail", "manage"),
        ("test -x /usr/sbin/anacron || run-parts /etc/cron.daily", "cron-daily"),
        ("nice -n 10 ionice -c3 /opt/Re_Index", "re-index"),
        ("LANG=C /usr/bin/python3 /opt/report.py", "report"),
        ("flock -n /tmp/lock /opt/sync", "sync"),
        ("[ -d /x ]", "job"),
        ("/opt/übung", "ubung"),
        # As somebody else, and through a shell.
        ("su - deploy -c /home/deploy/deploy.sh", "deploy"),
        ("su deploy -s /bin/bash -c '/home/deploy/go.sh'", "go"),
        ("su -s /bin/sh -c 'cd /x && ./deploy.sh' www", "deploy"),
        ("runuser -u www -- /opt/x.sh", "x"),
        ("bash -c 'set -o pipefail; pg_dump app | gzip > /b/x.gz'", "pg-dump"),
        ("bash -c 'set -o pipefail; pg_dump app | gzip > /b/$(date +%F).gz'", "pg-dump"),  # cron cuts it there
        ("set -e; a | b", "a"),
        # A program that says nothing without what it works on.
        ('echo "disk" | mail -s "Weekly report" ops@example.com', "mail-weekly-report"),
        ("mail ops@example.com < /tmp/report.txt", "mail-report"),
        ("find /var/tmp -mtime +7 -delete", "find-tmp"),
        ("curl -fsS https://www.example.com/cron.php?key=1 > /dev/null", "curl-example-com"),
        ("rsync -a --delete /home/ backup:/srv/home", "rsync-home"),
        ("tar czf /backup/home.tgz /home/nina", "tar-nina"),
        ("docker system prune -f", "docker-system-prune"),
        ("git -C /srv/app pull --ff-only", "git-pull"),
        ("systemctl restart nginx", "systemctl-restart-nginx"),
        ("ssh -i /x/key backup@host uptime", "ssh-host"),
        ('claude -p "$(cat /srv/prompts/triage.md)"', "claude-triage"),
        ("cd /srv/app && claude -p --output-format json < prompts/standup.md", "claude-standup"),
        ("claude -p --max-turns 5 'Fix the failing build'", "claude-fix-the-failing"),
        # One of its own beside it is what the line is about.
        ("echo start; curl -fsS https://hc/x; /opt/backup.sh | tee -a /tmp/log", "backup"),
        ("if curl -fsS https://x; then /opt/good; else echo bad | mail -s bad x; fi", "good"),
        ("ls /srv | xargs -n1 /opt/check.sh", "check"),
    ],
)
def test_a_job_is_called_by_what_its_command_is_about(command: str, job_id: str) -> None:
    assert only(f"@daily {command}\n").id == job_id


def test_lines_of_one_name_are_told_apart_by_folder_and_first_word_then_by_digits() -> None:
    lines = [
        "/opt/photos/sync.sh",
        "/opt/db/bin/sync.sh",
        "sync.sh --all mails",
        "sync.sh --all mails",
        "curl https://example.com/a",
        "curl https://example.com/b",
    ]
    found = [each.id for each in jobs("".join(f"@daily {line}\n" for line in lines))[0]]
    assert found[:3] == ["sync", "db-sync", "sync-mails"]
    assert found[3].startswith("sync-")
    assert found[4] == "curl-example-com"
    assert found[5].startswith("curl-example-com-")
    assert len(set(found)) == 6


def test_lines_of_one_name_have_ids_of_their_own_that_more_lines_do_not_change() -> None:
    text = "0 1 * * * /bin/a 1\n0 2 * * * /bin/a 2\n0 2 * * * /bin/a 2\n"
    before = [each.id for each in jobs(text)[0]]
    assert before[:2] == ["a", "a-2"]
    assert len(set(before)) == 3
    assert [each.id for each in jobs(f"# more\n0 0 * * * /bin/b\n{text}0 3 * * * /bin/a 3\n")[0]][1:4] == before


@given(st.text(st.sampled_from("ab/ .-_'\"|;&<>$(){}\\%12=#sucecholmailfindgit"), max_size=40))
def test_every_command_has_a_name_that_an_id_can_be(command: str) -> None:
    names = command_names(command)
    assert names
    assert all(re.fullmatch(ID_PATTERN[1:-1], each) and len(each) <= 100 for each in names), names
    assert command_names(command) == names


def test_a_prefix_stands_before_every_id() -> None:
    read = read_crontab(b"0 1 * * * /bin/a\n0 2 * * * /bin/a\n", system=False)
    found, _ = crontab_jobs(read, shell=Shell(), zone="UTC", root_zone="UTC", users=None, prefix="web-")
    assert [each.id[:5] for each in found] == ["web-a", "web-a"]
    assert found[0].stem == "web-a"


def test_what_cannot_be_carried_is_told_with_its_line() -> None:
    text = (
        "@reboot /bin/x\n*/5 * * * * * /bin/six\n0 0 0 1 1 * 2030 /bin/seven\n* * * *\n0~30 * * * * x\n@sometimes x\n"
        "* * * * * %x\nhello\n"
    )
    assert errors(text) == [
        (1, "import.reboot"),
        (2, "import.fields"),
        (3, "import.fields"),
        (4, "import.line"),
        (5, "import.schedule"),
        (6, "import.schedule"),
        (7, "import.line"),
        (8, "import.line"),
    ]
    assert errors(b"# caf\xe9\n* * * * * x\n* * * * * \xff\n") == [(3, "import.encoding")]


@pytest.mark.parametrize(
    "line",
    [
        "0 15 2 * * MON-FRI /opt/x/report.sh",
        "0 15 2 * * mon-fri /opt/x/report.sh",
        "0 15 2 * * ? /opt/x",
        "0 15 2 L * ? /opt/x",
        "0 15 2 * * L /opt/x",
        "0 15 2 * * 5L /opt/x",
        "0 15 2 * * FRIL /opt/x",
        "0 15 2 * * FRI#2 /opt/x",
        "0 15 2 * * 6#3 /opt/x",
        "0 15 2 ? * MON,WED,FRI /opt/x",
        "0 15 2 * * SUN /opt/x",
        "0 15 2 * * sun /opt/x",
        "0 15 2 * * */2 /opt/x",
        "0 15 2 1W * ? 2030 /opt/x",
    ],
)
def test_a_sixth_field_is_no_command_however_it_is_written(line: str) -> None:
    assert errors(f"{line}\n") == [(1, "import.fields")]
    assert not is_system(line.encode(), lambda _: False, lambda _: False)


@pytest.mark.parametrize("command", ["w", "sun", "7z a x", "mon", "monday-report", "L.sh", "./x", "?.sh"])
def test_a_command_that_looks_a_little_like_a_field_is_one(command: str) -> None:
    assert errors(f"* * * * * {command}\n") == []


def test_a_user_that_is_called_like_a_day_is_one() -> None:
    users = Users(wanted="mon", exists=lambda name: name == "mon")
    assert [each.text for each in jobs("0 1 * * * mon /bin/a\n", users=users)[0]] == [
        "export SHELL=/bin/sh\ncd  # cron starts in the home folder\n/bin/a\n"
    ]


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("@monthly 45 cron.monthly nice run-parts /etc/cron.monthly", "`@monthly nice run-parts /etc/cron.monthly`"),
        ("1\t5\tcron.daily\tnice run-parts --report /etc/cron.daily", "`@daily nice run-parts"),
        ("7 10 cron.weekly run-parts /etc/cron.weekly", "`@weekly run-parts"),
        ("30 15 backup /opt/backup", "`@monthly /opt/backup`"),
        ("@weekly 0 x_y /opt/x", "`@weekly /opt/x`"),
    ],
)
def test_a_line_of_an_anacrontab_is_told_as_one_and_left_out(line: str, hint: str) -> None:
    text = f"SHELL=/bin/sh\n{line}\n0 3 * * * /bin/a\n"
    found, problems = jobs(text)
    assert [each.id for each in found] == ["a"]
    assert [(each.line, each.code, each.is_error) for each in problems] == [(2, "import.anacron", True)]
    assert "anacrontab" in problems[0].message
    assert hint in problems[0].hint
    assert not is_system(text.encode(), lambda _: False, lambda _: False)
    assert errors(text, Users(wanted="me", exists=lambda _: True))[0] == (2, "import.anacron")


def test_lines_of_windows_and_a_byte_order_mark_are_read() -> None:
    found, problems = jobs(b"\xef\xbb\xbfA=b\r\n0 3 * * * /bin/x $A\r\n")
    (only_one,) = found
    assert only_one.text == (
        "export A=b\nexport SHELL=/bin/sh\ncd  # cron starts in the home folder\n"
        "set +eu  # as cron runs it\n/bin/x $A\n"
    )
    assert [(each.line, each.code) for each in problems] == [(1, "import.line-ends")]


def test_a_comment_in_another_encoding_costs_nothing_and_a_setting_is_told_as_lost() -> None:
    found, problems = jobs(b"# caf\xe9\nA=\xe9\n# right above\n0 3 * * * /bin/x\n0 4 * * * /bin/\xe9\n")
    assert [(each.id, each.keys.get("description"), each.text) for each in found] == [
        ("x", "right above", "export SHELL=/bin/sh\ncd  # cron starts in the home folder\n/bin/x\n")
    ]
    assert [(each.line, each.code, each.is_error) for each in problems] == [
        (1, "import.encoding", False),
        (2, "import.encoding", True),
        (5, "import.encoding", True),
    ]
    assert "the lines below it run without it" in problems[1].message
    assert "left out" in problems[2].message


def test_of_a_system_crontab_the_lines_of_one_user_are_taken() -> None:
    text = "0 1 * * * root /bin/a\n@daily www /bin/b\n0 2 * * * nobody-here /bin/c\n"
    users = Users(wanted="www", exists=lambda name: name in ("root", "www"))
    found, problems = jobs(text, users=users)
    assert [(each.id, each.text) for each in found] == [
        ("b", "export SHELL=/bin/sh\ncd  # cron starts in the home folder\n/bin/b\n")
    ]
    assert [(each.line, each.code, each.is_error) for each in problems] == [
        (1, "import.other-user", False),
        (3, "import.user", True),
    ]
    assert errors("0 0 5 * * * root /bin/six\n", users) == [(1, "import.fields")]


@pytest.mark.parametrize(
    ("lines", "system"),
    [
        (["0 1 * * * root /bin/a", "@daily www cd /x && ./b", "0 2 * * * nobody-here /bin/c"], True),
        (["0 1 * * * /bin/a", "@daily ./b -x", "A=b", "# 0 1 * * * root /bin/c"], False),
        (["0 22 * * 1-5 mail -s 'It is late' joe%Joe,"], False),
        (["0 1 * * * mail joe", "0 2 * * * sync"], False),
        (["0 1 * * * backup.sh /etc", "0 2 * * * ~/bin/x y"], False),
        (["0 1 * * * root /bin/a", "0 2 * * * mail /bin/b"], True),
        (["0 1 * * * /bin/a x", "0 4 * * * root /bin/b"], None),
        (["0 1 * * * root /bin/a", "0 4 * * * /bin/b x"], None),
        (["0 1 * * * deploy /srv/app/run", "0 4 * * * deploy /bin/b"], None),
        (["0 1 * * *"], False),
        *(
            ([f"* * * * * {word} /srv/app && ./x"], False)
            for word in ("cd", "source", "exec", "eval", "export", "command", "set", "umask", "test", "time", "echo")
        ),
        (["0 1 * * * root cd / && x", "0 2 * * * root exec /bin/a"], True),
        (["0 0 5 * * * root /bin/six", "0 1 * * * root /bin/a"], True),
        ([], False),
    ],
)
def test_the_form_of_a_crontab_is_told_by_its_lines_or_asked_for(lines: list[str], system: bool | None) -> None:
    def told() -> bool:
        return is_system(
            "\n".join(lines).encode(), {"root", "www", "mail", "sync"}.__contains__, {"mail", "sync"}.__contains__
        )

    if system is None:
        with pytest.raises(UsageError, match="cannot tell whether"):
            told()
    else:
        assert told() == system


def test_zones_and_random_delays_go_into_the_schedule() -> None:
    found, problems = jobs(
        "CRON_TZ=Asia/Tokyo\n0 3 * * * a\nRANDOM_DELAY=20\n@hourly b\nRANDOM_DELAY=40\n@hourly c\nCRON_TZ=UTC\n"
        "RANDOM_DELAY=0\n@every_minute d\n-*/5 * * * * e\n"
    )
    assert [each.keys["schedule"] for each in found] == [
        {"cron": "0 3 * * *", "timezone": "Asia/Tokyo"},
        {"cron": "@hourly", "timezone": "Asia/Tokyo", "jitter": "20m"},
        {"cron": "@hourly", "timezone": "Asia/Tokyo"},
        "* * * * *",
        "*/5 * * * *",
    ]
    assert [(each.line, each.code) for each in problems] == [(6, "import.jitter")]


@pytest.mark.parametrize("name", ["Bad Id!", "", "ÄÖ", "A", "x" * 300, ".hidden", "a/b", "日本"])
def test_an_id_that_is_none_here_always_becomes_the_same_other_one(name: str) -> None:
    found = mapped_id(name)
    assert found == mapped_id(name)
    assert mapped_id(found) == found
    assert found != mapped_id(name + "!")
