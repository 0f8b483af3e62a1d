# Completion of holdfast for fish. Backup names come from `holdfast list`, orgs from `holdfast keys list`.

function __holdfast_backups
    holdfast list --json 2>/dev/null | string replace -rf '.*"backup" *: *"([^"]*)".*' '$1' | string replace -a '\\/' /
end

function __holdfast_orgs
    holdfast keys list --json 2>/dev/null | string replace -rf '.*"org" *: *"([^"]*)".*' '$1'
end

function __holdfast_snapshots
    holdfast snapshot list --json 2>/dev/null | string replace -rf '.*"'$argv[1]'" *: *"([^"]*)".*' '$1' | string replace -a '\\/' / \
        | string replace -r '/[^/]*Z/' / | sort -u
end

complete -c holdfast -f
complete -c holdfast -s h -l help -d 'Show help'
complete -c holdfast -n __fish_use_subcommand -l version -d 'Show the version'
complete -c holdfast -n 'not __fish_use_subcommand' -l config -r -F -d 'Configuration file'

complete -c holdfast -n __fish_use_subcommand -a mount -d 'Show the backups as a file system'
complete -c holdfast -n __fish_use_subcommand -a backup -d 'Back up an image, a device, a running guest, or standard input'
complete -c holdfast -n __fish_use_subcommand -a restore -d 'Verify a backup, then write it to a file or device'
complete -c holdfast -n __fish_use_subcommand -a list -d 'List backups'
complete -c holdfast -n __fish_use_subcommand -a show -d 'Show the facts of a backup'
complete -c holdfast -n __fish_use_subcommand -a verify -d 'Check a backup'
complete -c holdfast -n __fish_use_subcommand -a drill -d 'Restore a backup to nowhere and measure it'
complete -c holdfast -n __fish_use_subcommand -a status -d 'Each disk with RPO and RTO, and what is overdue'
complete -c holdfast -n __fish_use_subcommand -a prune -d 'Remove what retention no longer keeps'
complete -c holdfast -n __fish_use_subcommand -a hold -d 'Keep a backup whatever retention says'
complete -c holdfast -n __fish_use_subcommand -a agent -d 'Take automatic backups'
complete -c holdfast -n __fish_use_subcommand -a snapshot -d 'In-cluster copies of disks for undo, not backups'
complete -c holdfast -n __fish_use_subcommand -a keys -d 'The keys of the orgs'
complete -c holdfast -n __fish_use_subcommand -a usage -d 'What backups take up and cost'
complete -c holdfast -n __fish_use_subcommand -a backend -d 'The places archives are kept'
complete -c holdfast -n __fish_use_subcommand -a catalog -d 'The catalog of backups'
complete -c holdfast -n __fish_use_subcommand -a archive -d 'Work on a bare archive file and a key'
complete -c holdfast -n __fish_use_subcommand -a warmup -d 'Read ahead what an earlier session read'
complete -c holdfast -n __fish_use_subcommand -a help -d 'Show help'

complete -c holdfast -n '__fish_seen_subcommand_from mount backup archive warmup' -F
complete -c holdfast -n '__fish_seen_subcommand_from mount' -s o -x -a 'ro allow_other uid= gid= umask= record= noatime auto_unmount'
complete -c holdfast -n '__fish_seen_subcommand_from mount' -s f -l foreground -d 'Stay in the foreground'

complete -c holdfast -n '__fish_seen_subcommand_from warmup' -l jobs -x -d 'Parts read at once'

complete -c holdfast -n '__fish_seen_subcommand_from backup' -l org -x -a '(__holdfast_orgs)' -d 'Owner'
complete -c holdfast -n '__fish_seen_subcommand_from backup' -l vm -x -d Machine
complete -c holdfast -n '__fish_seen_subcommand_from backup' -l disk -x -d 'Disk of the machine'
complete -c holdfast -n '__fish_seen_subcommand_from backup' -l format -x -a 'auto raw qcow2 vmdk vdi vhdx' -d 'Format of the image'
complete -c holdfast -n '__fish_seen_subcommand_from backup' -l dry-run -d 'Only read the source'
complete -c holdfast -n '__fish_seen_subcommand_from backup rebuild refresh copies' -l backend -x -d Backend

complete -c holdfast -n '__fish_seen_subcommand_from restore list show verify' -a '(__holdfast_backups)'
complete -c holdfast -n '__fish_seen_subcommand_from restore' -F
complete -c holdfast -n '__fish_seen_subcommand_from restore decode' -l force -d Overwrite
complete -c holdfast -n '__fish_seen_subcommand_from restore' -l stream -d 'Write while verifying'
complete -c holdfast -n '__fish_seen_subcommand_from restore' -l salvage -d 'Go on past damage, with zeros'
complete -c holdfast -n '__fish_seen_subcommand_from restore' -l resume -d 'Go on where it stopped'
complete -c holdfast -n '__fish_seen_subcommand_from verify' -l all -d 'Every backup'
complete -c holdfast -n '__fish_seen_subcommand_from verify' -l presence -d 'Only whether it is there'
complete -c holdfast -n '__fish_seen_subcommand_from verify' -l archive -d 'Also the archive hash, which needs no key'
complete -c holdfast -n '__fish_seen_subcommand_from verify' -l raw -d 'Also every frame'
complete -c holdfast -n '__fish_seen_subcommand_from verify' -l repair -d 'Put the good bytes back'
complete -c holdfast -n '__fish_seen_subcommand_from verify' -l sample -x -d 'What is due at this rate, such as 14%/day'
complete -c holdfast -n '__fish_seen_subcommand_from verify' -l egress -x -d 'Most that is fetched in a day'
complete -c holdfast -n '__fish_seen_subcommand_from backup restore list show verify rebuild refresh inspect' -l json -d 'Print JSON'

complete -c holdfast -n '__fish_seen_subcommand_from drill' -l org -x -a '(__holdfast_orgs)' -d 'Newest backups of this org'
complete -c holdfast -n '__fish_seen_subcommand_from drill' -l due -d 'Disks whose drill is due'
complete -c holdfast -n '__fish_seen_subcommand_from drill' -l limit -x -d 'At most so many'
complete -c holdfast -n '__fish_seen_subcommand_from drill' -l scratch -x -a '(__fish_complete_directories)' -d 'Folder to write to'
complete -c holdfast -n '__fish_seen_subcommand_from drill' -l cap -x -d 'Data of the scratch image'
complete -c holdfast -n '__fish_seen_subcommand_from drill' -l boot -d 'Boot it in QEMU'
complete -c holdfast -n '__fish_seen_subcommand_from drill' -l expect -x -d 'Text of a guest that has booted'
complete -c holdfast -n '__fish_seen_subcommand_from drill' -l firmware -x -a 'bios uefi' -d 'Of the guest'
complete -c holdfast -n '__fish_seen_subcommand_from drill' -l bus -x -a 'virtio sata' -d 'How the guest sees its disk'
complete -c holdfast -n '__fish_seen_subcommand_from drill' -l memory -x -d 'Of the guest'
complete -c holdfast -n '__fish_seen_subcommand_from drill' -l boot-patience -x -d 'Without output and reads'
complete -c holdfast -n '__fish_seen_subcommand_from drill' -l check -x -a fs -d 'Look at what was restored'
complete -c holdfast -n '__fish_seen_subcommand_from drill' -a '(__holdfast_backups)'
complete -c holdfast -n '__fish_seen_subcommand_from status' -l prometheus -d 'Print metrics'
complete -c holdfast -n '__fish_seen_subcommand_from drill status' -l json -d 'Print JSON'

complete -c holdfast -n '__fish_seen_subcommand_from prune' -l dry-run -d 'Only say what would be removed'
complete -c holdfast -n '__fish_seen_subcommand_from prune' -l explain -d 'Say why'
complete -c holdfast -n '__fish_seen_subcommand_from prune' -l force -d 'Remove more at once'
complete -c holdfast -n '__fish_seen_subcommand_from prune usage' -l json -d 'Print JSON'
complete -c holdfast -n '__fish_seen_subcommand_from hold' -a '(__holdfast_backups)'
complete -c holdfast -n '__fish_seen_subcommand_from hold' -l reason -x -d Why
complete -c holdfast -n '__fish_seen_subcommand_from hold' -l release -d 'Let it go again'
complete -c holdfast -n '__fish_seen_subcommand_from hold' -l json -d 'Print JSON'

complete -c holdfast -n '__fish_seen_subcommand_from agent; and not __fish_seen_subcommand_from run plan runs' -a 'run plan runs'
complete -c holdfast -n '__fish_seen_subcommand_from agent' -l once -d 'Take what is due now, and end'
complete -c holdfast -n '__fish_seen_subcommand_from runs' -l limit -x -d 'At most so many'
complete -c holdfast -n '__fish_seen_subcommand_from plan runs' -l json -d 'Print JSON'
complete -c holdfast -n '__fish_seen_subcommand_from backup' -l consistency -x -a 'auto none reflink btrfs lvm zfs' -d 'How the source is held still'
complete -c holdfast -n '__fish_seen_subcommand_from backup' -l require-consistency -d 'No backup without a consistent point'

complete -c holdfast -n '__fish_seen_subcommand_from keys; and not __fish_seen_subcommand_from create list show export import rotate delete rewrap' \
    -a 'create list show export import rotate delete rewrap'
complete -c holdfast -n '__fish_seen_subcommand_from keys; and __fish_seen_subcommand_from show export rotate delete rewrap' -a '(__holdfast_orgs)'
complete -c holdfast -n '__fish_seen_subcommand_from keys; and __fish_seen_subcommand_from export' -l write-only \
    -d 'Only what is needed to back up'
complete -c holdfast -n '__fish_seen_subcommand_from keys; and __fish_seen_subcommand_from rewrap' -l dry-run \
    -d 'Only say what would be done'
complete -c holdfast -n '__fish_seen_subcommand_from keys; and __fish_seen_subcommand_from export' -l passphrase \
    -d 'Encrypt to a passphrase'
complete -c holdfast -n '__fish_seen_subcommand_from keys; and __fish_seen_subcommand_from export import' -l passphrase-file \
    -r -F -d 'Take the passphrase from a file'
complete -c holdfast -n '__fish_seen_subcommand_from keys; and __fish_seen_subcommand_from import' -F -l add \
    -d 'Add to the key that is there'

complete -c holdfast -n '__fish_seen_subcommand_from snapshot; and not __fish_seen_subcommand_from create list show rollback clone delete' \
    -a 'create list show rollback clone delete'
complete -c holdfast -n '__fish_seen_subcommand_from snapshot; and __fish_seen_subcommand_from create show rollback clone delete' \
    -a '(__holdfast_snapshots snapshot)'
complete -c holdfast -n '__fish_seen_subcommand_from snapshot; and __fish_seen_subcommand_from show rollback clone delete' \
    -a 'latest (__holdfast_snapshots date)'
complete -c holdfast -n '__fish_seen_subcommand_from snapshot; and __fish_seen_subcommand_from clone' -F
complete -c holdfast -n '__fish_seen_subcommand_from snapshot; and __fish_seen_subcommand_from create' -l require-consistency \
    -d 'None without a consistent point'
complete -c holdfast -n '__fish_seen_subcommand_from snapshot; and __fish_seen_subcommand_from show' -l verify \
    -d 'Read it, and compare its hash'
complete -c holdfast -n '__fish_seen_subcommand_from snapshot; and __fish_seen_subcommand_from create list show' -l json -d 'Print JSON'

complete -c holdfast -n '__fish_seen_subcommand_from backend; and not __fish_seen_subcommand_from list show check test gc copy' -a 'list show check test gc copy'
complete -c holdfast -n '__fish_seen_subcommand_from backend; and __fish_seen_subcommand_from list' -l timeout -x -d 'Seconds to answer within'
complete -c holdfast -n '__fish_seen_subcommand_from backend; and __fish_seen_subcommand_from test' -l size -x -d 'Size of the probe'
complete -c holdfast -n '__fish_seen_subcommand_from backend; and __fish_seen_subcommand_from test' -l json -d 'Print JSON'
complete -c holdfast -n '__fish_seen_subcommand_from backend; and __fish_seen_subcommand_from copy' -l to -x -d 'Copy to this backend'
complete -c holdfast -n '__fish_seen_subcommand_from backend; and __fish_seen_subcommand_from copy' -a '(__holdfast_backups)'
complete -c holdfast -n '__fish_seen_subcommand_from backend; and __fish_seen_subcommand_from show' -l probe \
    -d 'Find out anew what the servers can do'
complete -c holdfast -n '__fish_seen_subcommand_from gc' -l days -x -d 'Least age of uploads that this host does not know'
complete -c holdfast -n '__fish_seen_subcommand_from catalog; and not __fish_seen_subcommand_from rebuild refresh copies copy restore check' -a 'rebuild refresh copies copy restore check'
complete -c holdfast -n '__fish_seen_subcommand_from catalog; and __fish_seen_subcommand_from copies copy restore' -l org -x -a '(__holdfast_orgs)' -d 'Only this org'
complete -c holdfast -n '__fish_seen_subcommand_from catalog; and __fish_seen_subcommand_from check' -l repair -d 'Make a damaged one anew'
complete -c holdfast -n '__fish_seen_subcommand_from catalog; and __fish_seen_subcommand_from restore' -l from -x -d 'Only copies there'
complete -c holdfast -n '__fish_seen_subcommand_from archive; and not __fish_seen_subcommand_from decode inspect import' -a 'decode inspect import'
complete -c holdfast -n '__fish_seen_subcommand_from archive; and __fish_seen_subcommand_from import' -l date -x -d 'When it was made, UTC'
complete -c holdfast -n '__fish_seen_subcommand_from archive; and __fish_seen_subcommand_from import' -l org -x -a '(__holdfast_orgs)' -d 'Owner'
complete -c holdfast -n '__fish_seen_subcommand_from archive; and __fish_seen_subcommand_from import' -l vm -x -d Machine
complete -c holdfast -n '__fish_seen_subcommand_from archive; and __fish_seen_subcommand_from import' -l disk -x -d 'Disk of the machine'
complete -c holdfast -n '__fish_seen_subcommand_from archive; and __fish_seen_subcommand_from import' -l backend -x -d Backend
complete -c holdfast -n '__fish_seen_subcommand_from archive' -s i -l identity -r -F -d 'Age identity file'
complete -c holdfast -n '__fish_seen_subcommand_from decode' -s o -l output -r -F -d Image
