"""Prints what the parity tests compared in full, as a table after the tests; reports come from worker processes too."""

COLUMNS = ("task", "random", "scripted", "episodes", "won", "lava", "events")


def pytest_terminal_summary(terminalreporter):
    passed = [report for report in terminalreporter.stats.get("passed", []) if report.nodeid.endswith("-full]")]
    rows = sorted(value for report in passed for name, value in report.user_properties if name == "parity")
    if rows:
        totals = [sum(column) for column in zip(*(row[1:] for row in rows), strict=True)]
        terminalreporter.section("steps compared with Farama's; events: how many kinds of things happened")
        for name, *numbers in [COLUMNS, *rows, ("total", *totals[:-1])]:
            terminalreporter.write_line(f"{name:38}" + "".join(f"{number:>10}" for number in numbers))
