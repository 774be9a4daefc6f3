"""The report of the benchmark suites: results read, compared, tabulated, drawn and written as a page."""
