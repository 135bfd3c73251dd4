"""Reports: arrays and report.json in; Markdown, HTML and tables out. Nothing runs here."""
