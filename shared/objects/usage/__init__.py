"""What objects take from the resource quotas of their namespace: one count, used both where a write is admitted and
where a quota's status is recounted, so that the two can never disagree."""
