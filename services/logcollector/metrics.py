"""Metrics under the names of fluent-plugin-prometheus, so that dashboards written for Fluentd work.

Gauges where Fluentd has gauges, although some only ever grow: a counter would get another name.
"""

from prometheus_client import Gauge

_OUTPUT = ["plugin_id", "type"]
_FILE = ["plugin_id", "type", "path"]

INPUT_RECORDS = Gauge("fluentd_input_status_num_records_total", "records read", ["tag", "hostname"])
EMIT_RECORDS = Gauge("fluentd_output_status_emit_records", "records delivered", _OUTPUT)
EMIT_COUNT = Gauge("fluentd_output_status_emit_count", "batches delivered", _OUTPUT)
EMIT_SIZE = Gauge("fluentd_output_status_emit_size", "bytes delivered", _OUTPUT)
WRITE_COUNT = Gauge("fluentd_output_status_write_count", "deliveries begun", _OUTPUT)
ERRORS = Gauge("fluentd_output_status_num_errors", "failed deliveries", _OUTPUT)
RETRIES = Gauge("fluentd_output_status_retry_count", "repeated deliveries", _OUTPUT)
RETRY_WAIT = Gauge("fluentd_output_status_retry_wait", "seconds until the next attempt", _OUTPUT)
FLUSH_TIME = Gauge("fluentd_output_status_flush_time_count", "milliseconds spent on deliveries", _OUTPUT)
QUEUE = Gauge("fluentd_output_status_buffer_queue_length", "batches waiting for an acknowledgement", _OUTPUT)
BUFFER = Gauge("fluentd_output_status_buffer_total_bytes", "bytes of log files not delivered yet", _OUTPUT)
POSITION = Gauge("fluentd_tail_file_position", "delivered bytes of a file", _FILE)
INODE = Gauge("fluentd_tail_file_inode", "inode of a file", _FILE)
OPENED = Gauge("fluentd_tail_file_opened", "files opened", ["plugin_id", "type"])
CLOSED = Gauge("fluentd_tail_file_closed", "files closed", ["plugin_id", "type"])
ROTATED = Gauge("fluentd_tail_file_rotated", "files renamed by rotation", ["plugin_id", "type"])

TAIL = ("in_tail", "tail")
