"""A crontab becomes jobs that do what cron does with it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from scheduler.core.imports.crontab import Shell, Users, crontab_jobs, is_system, read_crontab
from scheduler.core.imports.incoming import Incoming, mapped_id
from scheduler.core.values.problems import Problem, UsageError


def jobs(
    text: str | bytes, *, shell: Shell | None = None, users: Users | None = None
) -> tuple[list[Incoming], list[Problem]]:
    data = text.encode() if isinstance(text, str) else text
    read = read_crontab(data, system=users is not None)
    return crontab_jobs(read, shell=shell or Shell(strict=True), zone="UTC", root_zone="UTC", users=users)


def only(text: str, *, shell: Shell | None = None) -> Incoming:
    found, problems = jobs(text, shell=shell)
    assert not [each for each in problems if each.is_error]
    (job,) = found
    return job


def errors(text: str | bytes, users: Users | None = None) -> list[tuple[int, str]]:
    return [(each.line, each.code) for each in jobs(text, users=users)[1] if each.is_error]


def output(job: Incoming, folder: Path) -> str:
    """What the task writes, run as the runner of a root runs it."""
    script = folder / "task"
    script.write_text(job.text or "")
    found = subprocess.run(
        ["sh", "-eu", script],
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout


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


def test_settings_hold_for_the_lines_below_them(tmp_path: Path) -> None:
    found, _ = jobs('A=1\n0 1 * * * echo $A\nA = " 2 \'"\n\'B\' = x\n0 2 * * * echo "$A$B" $PWD\n')
    assert [output(each, tmp_path) for each in found] == ["1\n", f" 2 'x {tmp_path}\n"]


def test_names_that_the_runner_allows_are_keys_of_the_job() -> None:
    job = only("MODE=calm\nOTHER=x\n@daily run-it\n", shell=Shell(allowed=("MODE",)))
    assert job.keys["env"] == {"MODE": "calm"}
    assert job.text == "export OTHER=x\ncd\nrun-it\n"


def test_another_shell_gets_what_only_it_understands(tmp_path: Path) -> None:
    job = only("SHELL=/bin/bash\n@daily [[ a < b ]] && echo ${BASH_VERSION:+bash}\n")
    assert output(job, tmp_path) == "bash\n"
    assert only("SHELL=/bin/bash\n@daily /bin/backup --all > /dev/null 2>&1\n").text == (
        "cd\n/bin/backup --all > /dev/null 2>&1\n"
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
    assert text.startswith("cd\n/bin/bash -c ") != plain
    assert (f"cd\n{command}\n" == text) == plain


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


@pytest.mark.parametrize(
    ("command", "job_id"),
    [
        ("/usr/local/bin/backup.sh --all", "backup"),
        ("cd /srv/app && ./manage.py sendmail", "manage"),
        ("test -x /usr/sbin/anacron || run-parts /etc/cron.daily", "cron-daily"),
        ("nice -n 10 ionice -c3 /opt/Re_Index", "re-index"),
        ("LANG=C /usr/bin/python3 /opt/report.py", "report"),
        ("flock -n /tmp/lock /opt/sync", "sync"),
        ("[ -d /x ]", "job"),
        ("/opt/übung", "ubung"),
    ],
)
def test_a_job_is_called_by_what_its_command_is_about(command: str, job_id: str) -> None:
    assert only(f"@daily {command}\n").id == job_id


def test_lines_of_one_name_have_ids_of_their_own_that_more_lines_do_not_change() -> None:
    text = "0 1 * * * /bin/a 1\n0 2 * * * /bin/a 2\n0 2 * * * /bin/a 2\n"
    before = [each.id for each in jobs(text)[0]]
    assert len(set(before)) == 3
    assert [each.id for each in jobs(f"# more\n0 0 * * * /bin/b\n{text}0 3 * * * /bin/a 3\n")[0]][1:4] == before


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


def test_lines_of_windows_and_a_byte_order_mark_are_read() -> None:
    found, problems = jobs(b"\xef\xbb\xbfA=b\r\n0 3 * * * /bin/x $A\r\n")
    assert [each.text for each in found] == ["export A=b\ncd\nset +eu  # as cron runs it\n/bin/x $A\n"]
    assert [(each.line, each.code) for each in problems] == [(1, "import.line-ends")]


def test_a_comment_in_another_encoding_costs_nothing_and_a_setting_is_told_as_lost() -> None:
    found, problems = jobs(b"# caf\xe9\nA=\xe9\n# right above\n0 3 * * * /bin/x\n0 4 * * * /bin/\xe9\n")
    assert [(each.id, each.keys.get("description"), each.text) for each in found] == [
        ("x", "right above", "cd\n/bin/x\n")
    ]
    assert [(each.line, each.code, each.is_error) for each in problems] == [
        (1, "import.encoding", False),
        (2, "import.encoding", True),
        (5, "import.encoding", True),
    ]
    assert "the lines below run without it" in problems[1].message
    assert "left out" in problems[2].message


def test_of_a_system_crontab_the_lines_of_one_user_are_taken() -> None:
    text = "0 1 * * * root /bin/a\n@daily www /bin/b\n0 2 * * * nobody-here /bin/c\n"
    users = Users(wanted="www", exists=lambda name: name in ("root", "www"))
    found, problems = jobs(text, users=users)
    assert [(each.id, each.text) for each in found] == [("b", "cd\n/bin/b\n")]
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
        ([], False),
    ],
)
def test_the_form_of_a_crontab_is_told_by_its_lines_or_asked_for(lines: list[str], system: bool | None) -> None:
    def told() -> bool:
        return is_system(
            "\n".join(lines).encode(), {"root", "www", "mail", "sync"}.__contains__, {"mail", "sync"}.__contains__
        )

    if system is None:
        with pytest.raises(UsageError, match="cannot be told"):
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
