"""One Realm: its history, its client files, the merge of what they upload, and who must hear of it."""
