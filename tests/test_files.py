"""Files of every kind in the command: read as what they are, or one sentence."""

import gzip
import struct
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

import jcausal as jc
from jcausal import cli
from jcausal.cli import _foreign
from jcausal.cli._estimate import read_columns, read_sample
from jcausal.cli._main import _parser
from jcausal.cli._terminal import UserError

N = 12
PEOPLE = pd.DataFrame(
    dict(
        treat=[0, 1, 0, 0] * 3,
        y=[0.5 * i + 0.25 for i in range(N)],
        age=[20.5, 31.0, 45.25, 50.0, 22.0, 33.5, 38.0, 61.0, 27.0, 44.5, 52.0, 19.0],
        rooms=[3, 1, 2, 4] * 3,
    )
)
ROLES = ("--treatment", "treat", "--outcome", "y")
PLAIN = jc.Sample(
    PEOPLE[["age", "rooms"]].to_numpy(), PEOPLE["treat"].to_numpy(), PEOPLE["y"].to_numpy()
)


def options(path, *more, command="estimate"):
    return _parser().parse_args([command, str(path), *ROLES, *more])


def sample(path, *more):
    """What the command makes of a file, with the library's checks."""
    return read_sample(options(path, *more))


def written(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def csv(frame, **how):
    return frame.to_csv(index=False, lineterminator="\n", **how)


def is_plain(found):
    """Equal to the sample of the same numbers given as arrays."""
    assert found.schema.names == ("age", "rooms")
    for field in ("x", "t", "y", "codes", "ladder", "heights", "row"):
        np.testing.assert_array_equal(getattr(found, field), getattr(PLAIN, field))
    return True


def refused(path, *more):
    with pytest.raises((UserError, jc.DataError)) as told:
        sample(path, *more)
    assert str(path.name) in str(told.value) or isinstance(told.value, jc.DataError)
    return str(told.value)


# Rows that do not fit the header.


@pytest.mark.parametrize("some", [(), ("--covariates", "age", "rooms")], ids=["all", "named"])
@pytest.mark.parametrize("rows", [slice(0, N), slice(0, 1), slice(7, 8)], ids=["all", "first", "8"])
def test_a_row_of_one_field_more_than_the_header_is_refused_with_its_line(tmp_path, rows, some):
    lines = csv(PEOPLE).splitlines()
    for k in range(*rows.indices(N)):
        lines[k + 1] += ",9"
    path = written(tmp_path / "long.csv", "\n\n" + "\n".join(lines) + "\n")
    told = refused(path, *some)
    assert f"line {3 + rows.indices(N)[0] + 1} of" in told and "has 5 fields" in told
    assert "header names 4 columns" in told


def test_ends_of_lines_without_a_value_are_no_columns(tmp_path):
    ended = "\n".join(f"{line},,," for line in csv(PEOPLE).splitlines())
    assert is_plain(sample(written(tmp_path / "ended.csv", ended)))
    header, *lines = csv(PEOPLE).splitlines()
    tail = "\n".join([header, *(f"{line}," for line in lines)])
    assert is_plain(sample(written(tmp_path / "tail.csv", tail)))
    more = ended.replace("19.0,4,,,", "19.0,4,,7,")
    assert "line 13 of" in refused(written(tmp_path / "more.csv", more))


@pytest.mark.parametrize("some", [(), ("--covariates", "age", "rooms")], ids=["all", "named"])
def test_row_names_as_r_writes_them_name_the_rows(tmp_path, some):
    header, *lines = csv(PEOPLE).splitlines()
    names = [f"p{k}" for k in range(N)]
    for sep in (",", " ", "\t"):
        text = [header, *(f'"{name}",{line}' for name, line in zip(names, lines))]
        path = written(tmp_path / "r.txt", "\n".join(text).replace(",", sep))
        with pytest.warns(UserWarning, match="names 4 columns and each row has 5 fields"):
            found = sample(path, *some)
        assert is_plain(found) and found.id.tolist() == names
    numbered = [header, *(f"{k},{line}" for k, line in enumerate(lines, 1))]
    with pytest.warns(UserWarning, match="the first is taken as the row's name"):
        found = sample(written(tmp_path / "n.csv", "\n".join(numbered)), *some)
    assert is_plain(found) and found.id.tolist() == list(range(1, N + 1))


def test_the_column_that_to_csv_leaves_unnamed_is_no_covariate(tmp_path, capsys):
    PEOPLE.to_csv(tmp_path / "once.csv")
    pd.read_csv(tmp_path / "once.csv").to_csv(tmp_path / "twice.csv")
    for name in ("once", "twice"):
        with pytest.warns(UserWarning, match="'Unnamed: 0'.* has no name of its own"):
            assert is_plain(sample(tmp_path / f"{name}.csv"))
    assert sample(tmp_path / "once.csv", "--covariates", "age", "Unnamed: 0").p == 2
    assert sample(tmp_path / "once.csv", "--covariates", "age", "--id", "Unnamed: 0").n == N
    assert cli.main(["describe", str(tmp_path / "once.csv"), *ROLES]) == 0
    told = capsys.readouterr()
    assert "Unnamed" not in told.out and "note: the column 'Unnamed: 0'" in told.err


def test_dropped_rows_leave_the_ids_of_the_others_as_they_were(tmp_path):
    gaps = PEOPLE.assign(age=PEOPLE["age"].where(PEOPLE.index >= 4))
    path = written(tmp_path / "gaps.csv", csv(gaps))
    with pytest.warns(UserWarning, match="dropped 4 of 12 rows"):
        found = sample(path, "--missing", "drop")
    assert found.id.tolist() == list(range(4, N))
    gaps.set_index(pd.Index(np.arange(N) * 10)).to_parquet(tmp_path / "gaps.parquet")
    with pytest.warns(UserWarning, match="dropped 4 of 12 rows"):
        found = sample(tmp_path / "gaps.parquet", "--missing", "drop")
    assert found.id.tolist() == [10 * k for k in range(4, N)]


@pytest.mark.extended
def test_the_ids_in_the_files_find_each_unit(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(dict(treat=rng.integers(0, 2, 200), age=rng.normal(40, 9, 200)))
    frame["y"] = frame["age"] + frame["treat"] + rng.normal(size=200)
    frame.loc[:9, "age"] = np.nan
    path, out = written(tmp_path / "people.csv", csv(frame)), tmp_path / "out"
    arguments = ["estimate", str(path), *ROLES, "--surface", "ridge", "--missing", "drop"]
    assert cli.main([*arguments, "--out", str(out), "--quiet"]) == 0
    for name, column in (("effects", "y"), ("matched", "outcome")):
        table = pd.read_csv(out / f"{name}.csv")
        np.testing.assert_allclose(table[column], frame["y"][table["id"]], rtol=1e-5)


# Separators, decimals, encodings.


@pytest.mark.parametrize("sep", [",", ";", "\t", "|", " "])
def test_the_separator_is_told_by_the_header(tmp_path, sep):
    path = written(tmp_path / "people.txt", csv(PEOPLE, sep=sep))
    assert is_plain(sample(path)) and is_plain(sample(path, "--covariates", "age", "rooms"))
    assert is_plain(sample(path, "--sep", {"\t": "\\t", " ": "space"}.get(sep, sep)))


def test_tsv_and_a_header_that_two_separators_divide(tmp_path):
    assert is_plain(sample(written(tmp_path / "people.tsv", csv(PEOPLE, sep="\t"))))
    packed = tmp_path / "people.tsv.gz"
    packed.write_bytes(gzip.compress(csv(PEOPLE, sep="\t").encode()))
    assert is_plain(sample(packed))
    both = csv(PEOPLE).replace("rooms", "rooms;halls")
    assert sample(written(tmp_path / "both.csv", both)).schema.names == ("age", "rooms;halls")
    path = written(tmp_path / "either.csv", "treat;a,y\n0;1,2\n1;2,3\n")
    assert "say which divides it with --sep" in refused(path)


def test_a_comma_before_decimals_is_guessed_where_it_is_certain(tmp_path):
    german = csv(PEOPLE, sep=";", decimal=",")
    assert "20,5" in german
    path = written(tmp_path / "german.csv", german)
    assert is_plain(sample(path)) and is_plain(sample(path, "--decimal", ","))
    gaps = sample(
        written(tmp_path / "gap.csv", german.replace("20,5", "")), "--missing", "indicator"
    )
    np.testing.assert_array_equal(gaps.points[1:, 0], PEOPLE["age"][1:])
    quoted = german.replace(";", '";"').replace("\n", '"\n"')[:-1]
    quoted = '"' + quoted.replace(";", ",")
    path = written(tmp_path / "quoted.csv", quoted)
    assert "numbers with a comma, such as '0,25': say --decimal ," in refused(path)
    assert is_plain(sample(path, "--decimal", ","))


@pytest.mark.parametrize("age", ["1,500", "1,500,000", "1,5"])
def test_a_comma_that_may_be_either_is_asked_about(tmp_path, age):
    text = csv(PEOPLE.assign(y=PEOPLE["y"], age=age), sep=";")
    told = refused(written(tmp_path / "either.csv", text))  # y has decimals after a point
    assert "column 'age' of" in told and f"such as {age!r}: say --decimal ," in told


def test_encodings_are_told_by_the_first_bytes_or_asked_for(tmp_path):
    towns = PEOPLE.assign(town=["Köln", "Bonn", "Göttingen", "Aachen"] * 3)
    more = ("--categorical", "town")
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        found = sample(written(tmp_path / "towns.csv", csv(towns), encoding), *more)
        assert found.schema.levels[-1] == ("Aachen", "Bonn", "Göttingen", "Köln")
    latin = written(tmp_path / "latin.csv", csv(towns), "latin-1")
    told = refused(latin, *more)
    assert "byte 0xf6 in line 2 is not UTF-8; say --encoding, such as latin-1" in told
    for one, path in (("latin-1", latin), ("utf-16-le", None)):
        path = path or written(tmp_path / "bare.csv", csv(towns), one)
        assert sample(path, *more, "--encoding", one).schema.levels[-1][-1] == "Köln"
    assert "if it is UTF-16, say --encoding utf-16-le" in refused(tmp_path / "bare.csv", *more)
    assert "not written in utf-16" in refused(latin, *more, "--encoding", "utf-16")


# Words for what is missing.


def test_a_dot_is_missing_among_numbers_and_a_word_among_words(tmp_path):
    dotted = PEOPLE.assign(age=PEOPLE["age"].astype(object), mark=[".", "x", "y"] * 4)
    dotted.loc[[2, 5], "age"] = [".", ".a"]
    path = written(tmp_path / "stata.csv", csv(dotted))
    assert "'age' is missing (null or NaN) in 2 of 12 rows" in refused(
        path, "--categorical", "mark"
    )
    found = sample(path, "--missing", "indicator", "--categorical", "mark")
    gap = PEOPLE["age"].where(~PEOPLE.index.isin([2, 5]))
    np.testing.assert_array_equal(found.points[:, 0], gap)
    assert found.schema.levels[-1] == (".", "x", "y")


def test_levels_called_na_or_none(tmp_path):
    plan = PEOPLE.assign(plan=["None", "basic", "full"] * 4)
    found = sample(written(tmp_path / "none.csv", csv(plan)), "--categorical", "plan")
    assert found.schema.levels[-1] == ("None", "basic", "full")
    assert found.points[:, -1].tolist() == [0, 1, 2] * 4
    area = PEOPLE.assign(area=["NA", "EU", "AS"] * 4)
    quoted = written(tmp_path / "quoted.csv", csv(area, quoting=2))
    assert sample(quoted, "--categorical", "area").schema.levels[-1] == ("AS", "EU", "NA")
    bare = written(tmp_path / "bare.csv", csv(area))
    told = refused(bare, "--categorical", "area")
    assert "column 'area' of" in told and "the word NA in 4 of 12 rows (rows 0, 3, 6 and 9)" in told
    assert "if it is a level, put it in quotes" in told
    with pytest.warns(UserWarning, match="the word NA in 4 of 12 rows: it counts as missing"):
        found = sample(bare, "--categorical", "area", "--missing", "indicator")
    assert found.schema.levels[-1] == ("AS", "EU", "missing")


def test_na_without_quotes_beside_words_in_quotes_is_missing_as_in_r(tmp_path):
    lines = ["treat,y,age,rooms,area,tall"]
    for k, row in enumerate(PEOPLE.itertuples(index=False)):
        area = ("NA", '"EU, west"', '"AS"')[k % 3]
        lines.append(",".join([*map(str, row), area, ("NA", "TRUE", "FALSE")[k % 3]]))
    path = written(tmp_path / "r.csv", "\n".join(lines))
    found = sample(path, "--categorical", "area", "tall", "--missing", "indicator")
    assert found.schema.levels[-2] == ("AS", "EU, west", "missing")
    assert found.schema.levels[-1] == ("0", "1", "missing")  # TRUE is a number
    numbers = csv(PEOPLE.assign(age=PEOPLE["age"].where(PEOPLE.index > 1)), na_rep="None")
    found = sample(written(tmp_path / "none.csv", numbers), "--missing", "indicator")
    assert np.isnan(found.points[:2, 0]).all() and not np.isnan(found.points[2:, 0]).any()


def test_an_id_stays_as_written(tmp_path):
    ids = ["NA", "None", "null", "nan", "."] + [f"0{k}" for k in range(N - 5)]
    path = written(tmp_path / "ids.csv", csv(PEOPLE.assign(who=ids)))
    assert sample(path, "--id", "who").id.tolist() == ids


def test_a_broken_archive_is_told_with_its_path(tmp_path):
    for ending in ("gz", "bz2", "xz", "zip"):
        path = written(tmp_path / f"people.csv.{ending}", csv(PEOPLE))
        assert "is no CSV file that can be read (" in refused(path)
    assert "Not a gzipped file" in refused(tmp_path / "people.csv.gz")
    with pytest.raises(jc.DataError, match=r"people\.csv\.gz is no CSV file, .*Not a gzipped file"):
        jc.datasets.diabetes(tmp_path / "people.csv.gz")


# Files of other programs.


def test_stata(tmp_path):
    frame = PEOPLE.assign(
        town=pd.Categorical(["north", "south", "west"] * 4),
        arm=pd.Categorical(["no", "yes", "no", "no"] * 3),
        name=["", "b", "c", "d"] * 3,
    )
    frame.loc[3, "age"] = np.nan
    frame.to_stata(tmp_path / "people.dta", write_index=False)
    found = sample(
        *(tmp_path / "people.dta", "--covariates", "age", "rooms", "town", "arm", "name"),
        *("--missing", "indicator", "--categorical", "name"),
    )
    assert found.schema.names == ("age", "age missing", "rooms", "town", "arm", "name")
    assert np.flatnonzero(np.isnan(found.points[:, 0])).tolist() == [3]
    assert found.schema.levels[3] == ("north", "south", "west")
    assert found.schema.kinds[4] == "binary" and found.schema.levels[5][-1] == "missing"
    PEOPLE.to_stata(tmp_path / "plain.dta", write_index=False)
    assert is_plain(sample(tmp_path / "plain.dta"))
    broken = written(tmp_path / "broken.dta", "no")
    assert "is no Stata file that can be read" in refused(broken)


def ibm(value):
    """A number of the transport format: base 16, a fraction of 56 bits."""
    if value == 0:
        return bytes(8)
    power = 64
    while value >= 1:
        value, power = value / 16, power + 1
    return bytes([power]) + int(value * 2**56).to_bytes(7, "big")


def transport(frame):
    """A SAS transport file of numbers."""
    when = b"01JAN20:00:00:00"

    def header(kind, tail):
        return f"HEADER RECORD*******{kind:<8}HEADER RECORD!!!!!!!{tail}".ljust(80).encode()

    def whole(part):
        return part.ljust(-(-len(part) // 80) * 80)

    def described(k, name):
        sizes = (1, 0, 8, k + 1, name.encode().ljust(8), b" " * 40, b" " * 8, 0, 0, 0)
        made = struct.pack(">hhhh8s40s8shhh2s8shhl", *sizes, b"", b" " * 8, 0, 0, 8 * k)
        return made.ljust(140, b"\0")

    columns = b"".join(described(k, name) for k, name in enumerate(frame))
    rows = b"".join(ibm(float(v)) for row in frame.itertuples(index=False) for v in row)
    return b"".join(
        [
            *(header("LIBRARY", "0" * 30), b"SAS     SAS     SASLIB  9.4     X".ljust(64), when),
            *(whole(when), header("MEMBER", "0" * 17 + "1600000000140")),
            *(header("DSCRPTR", "0" * 30), b"SAS     PEOPLE  SASDATA 9.4     X".ljust(64), when),
            *(whole(when), header("NAMESTR", f"{frame.shape[1]:010d}" + "0" * 20)),
            *(whole(columns), header("OBS", "0" * 30), whole(rows)),
        ]
    )


def test_sas(tmp_path):
    (tmp_path / "people.xpt").write_bytes(transport(PEOPLE))
    assert is_plain(sample(tmp_path / "people.xpt"))
    for name in ("broken.xpt", "broken.sas7bdat"):
        assert "is no SAS file that can be read" in refused(written(tmp_path / name, "no"))


def test_feather(tmp_path):
    PEOPLE.to_feather(tmp_path / "people.feather")
    assert is_plain(sample(tmp_path / "people.feather"))
    broken = written(tmp_path / "broken.feather", "no")
    assert "is no Feather file that can be read" in refused(broken)


@pytest.mark.parametrize(
    ("ending", "package"), [(".xlsx", "openpyxl"), (".xls", "xlrd"), (".sav", "pyreadstat")]
)
def test_a_missing_reader_names_its_package(tmp_path, monkeypatch, ending, package):
    def missing(*_, **__):
        raise ImportError(f"Missing optional dependency '{package}'.")

    if find_spec(package) is not None:
        monkeypatch.setattr(pd, "ExcelFile", missing)
        monkeypatch.setattr(pd, "read_spss", missing)
    path = written(tmp_path / f"people{ending}", "no")
    assert f"files need {package}: pip install {package}, or save" in refused(path)


def test_excel(tmp_path):
    pytest.importorskip("openpyxl", reason="openpyxl reads and writes Excel files")
    path = tmp_path / "people.xlsx"
    marked = PEOPLE.assign(age=PEOPLE["age"].astype(object))
    marked.loc[0, "age"] = "NA"
    with pd.ExcelWriter(path) as book:
        PEOPLE.to_excel(book, sheet_name="plain", index=False)
        marked.to_excel(book, sheet_name="marked", index=False)
    assert "has 2 sheets: name one with --sheet, of plain, marked" in refused(path)
    assert "no sheet 'other'" in refused(path, "--sheet", "other")
    assert is_plain(sample(path, "--sheet", "plain")) and is_plain(sample(path, "--sheet", "1"))
    found = sample(path, "--sheet", "marked", "--missing", "indicator")
    assert np.isnan(found.points[0, 0]) and not np.isnan(found.points[1:, 0]).any()
    PEOPLE.to_excel(tmp_path / "one.xlsx", index=False)
    assert is_plain(sample(tmp_path / "one.xlsx"))


def test_spss(tmp_path):
    pyreadstat = pytest.importorskip("pyreadstat", reason="pyreadstat reads and writes SPSS files")
    pyreadstat.write_sav(PEOPLE, tmp_path / "people.sav")
    assert is_plain(sample(tmp_path / "people.sav"))


def test_the_sheet_is_one_of_those_there(tmp_path):
    path = tmp_path / "book.xlsx"
    assert _foreign._which(path, ["a"], None) == "a" == _foreign._which(path, ["b", "a"], "2")
    assert _foreign._which(path, ["2", "a"], "2") == "2"
    for wanted, words in ((None, "has 2 sheets: name one"), ("c", "there is no sheet 'c'")):
        with pytest.raises(UserError, match=words):
            _foreign._which(path, ["a", "b"], wanted)


def test_options_of_another_kind_of_file_and_unknown_files_are_refused(tmp_path):
    PEOPLE.to_parquet(tmp_path / "people.parquet")
    PEOPLE.to_stata(tmp_path / "people.dta", write_index=False)
    text = written(tmp_path / "people.csv", csv(PEOPLE))
    for path, option in (
        (tmp_path / "people.parquet", ("--sep", ";")),
        (tmp_path / "people.dta", ("--encoding", "latin-1")),
        (text, ("--sheet", "one")),
    ):
        assert f"{option[0]} is for" in refused(path, *option)
    assert "ends in none of .csv, .tsv" in refused(written(tmp_path / "people.doc", "x"))


def test_words_that_no_option_can_be(tmp_path, capsys):
    for option, value in (("--sep", ";;"), ("--encoding", "martian"), ("--decimal", ";")):
        with pytest.raises(SystemExit):
            options(tmp_path / "people.csv", option, value)
        assert option in capsys.readouterr().err


def test_describe_reads_the_same(tmp_path, capsys):
    path = written(tmp_path / "german.csv", csv(PEOPLE, sep=";", decimal=","))
    pd.testing.assert_frame_equal(read_columns(options(path, command="describe")), PEOPLE)
    assert cli.main(["describe", str(path), *ROLES, "--sep", ";"]) == 0
    assert "12 rows, 12 without a missing value" in capsys.readouterr().out
