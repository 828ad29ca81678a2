"""What several rooms need: files that appear whole, judged constants, threads or a cluster."""
