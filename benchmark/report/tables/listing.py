"""Which tables there are."""

from benchmark.report.results import Results
from benchmark.report.tables.runs import controls_table, frontier_table, results_table
from benchmark.report.tables.solves import ot_table
from benchmark.report.tables.table import Table


def tables(results: Results) -> list[Table]:
    """Every table that the results have something for."""
    made = [results_table(results, problem) for problem in results.problems]
    made += [frontier_table(results), controls_table(results), ot_table(results)]
    return [table for table in made if table.cells]
