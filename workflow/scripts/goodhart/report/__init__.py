"""Pages, tables and figures from the results of a study (`results`).

A page is a module with a template in `templates/`, and a column of Table 1 is a line of `analysis.levels.TABLE1`;
figures have a folder of their own.
"""
