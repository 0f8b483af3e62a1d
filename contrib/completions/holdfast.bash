# Completion of holdfast for bash. Backup names come from `holdfast list`, orgs from `holdfast keys list`.

_holdfast_backups() {
    holdfast "$@" list --json 2>/dev/null | sed -n 's/.*"backup" *: *"\([^"]*\)".*/\1/p' | sed 's|\\/|/|g'
}

# The disks that have snapshots, and the dates of those.
_holdfast_snapshots() {
    local field=$1
    shift
    holdfast "$@" snapshot list --json 2>/dev/null | sed -n 's/.*"'"$field"'" *: *"\([^"]*\)".*/\1/p' | sed 's|\\/|/|g; s|/[^/]*Z/|/|' | sort -u
}

_holdfast_orgs() {
    holdfast "$@" keys list --json 2>/dev/null | sed -n 's/.*"org" *: *"\([^"]*\)".*/\1/p'
}

_holdfast() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local verbs="mount backup restore list show verify drill status prune usage hold agent snapshot keys backend catalog archive warmup help"
    local verb='' sub='' word index positional=0 config=()
    COMPREPLY=()

    # The words before the one completed: the verb, its own verb, and how many plain arguments there are.
    for ((index = 1; index < COMP_CWORD; index++)); do
        word=${COMP_WORDS[index]}
        case $word in
        --config)
            config=(--config "${COMP_WORDS[index + 1]}")
            index=$((index + 1))
            ;;
        --org | --vm | --disk | --backend | --format | --from | --days | --limit | --scratch | --cap | --check | --consistency | --expect | --firmware | --bus | --memory | --boot-patience | --reason | --sample | --egress | --to | --size | --timeout | -o | --output | -i | --identity | --passphrase-file) index=$((index + 1)) ;;
        -?*) ;;
        *)
            if [[ -z $verb ]]; then
                verb=$word
            elif [[ -z $sub && $verb == @(agent|keys|backend|catalog|archive|snapshot) ]]; then
                sub=$word
            else
                positional=$((positional + 1))
            fi
            ;;
        esac
    done

    local words='' files=no
    case $previous in
    --config | -i | --identity | --output | --scratch) files=yes ;;
    --org) words=$(_holdfast_orgs "${config[@]}") ;;
    --check) words=fs ;;
    --format) words="auto raw qcow2 vmdk vdi vhdx" ;;
    --consistency) words="auto none reflink btrfs lvm zfs" ;;
    --firmware) words="bios uefi" ;;
    --bus) words="virtio sata" ;;
    --expect | --memory | --boot-patience) return ;;
    --vm | --disk | --backend | --from | --days | --limit | --cap | --sample | --egress | --to | --reason | --size | --timeout) return ;;
    -o)
        if [[ $verb == mount ]]; then
            words="ro allow_other uid= gid= umask= noatime nodev nosuid noexec auto_unmount"
            compopt -o nospace
        else
            files=yes
        fi
        ;;
    *)
        case $verb:$sub in
        :*) words="$verbs -h --help --version" ;;
        mount:*)
            words="-o -f --foreground --config -h --help"
            files=yes
            ;;
        backup:*)
            words="--org --vm --disk --backend --format --consistency --require-consistency --dry-run --json --config -h --help"
            files=yes
            ;;
        restore:*)
            words="--force --stream --salvage --resume --json --config -h --help"
            if [[ $positional -eq 0 ]]; then words+=" $(_holdfast_backups "${config[@]}")"; else files=yes; fi
            ;;
        warmup:*)
            words="--jobs -h --help"
            files=yes
            ;;
        list:*) words="--json --config -h --help $(_holdfast_backups "${config[@]}")" ;;
        show:*) words="--json --config -h --help $(_holdfast_backups "${config[@]}")" ;;
        verify:*) words="--all --presence --archive --raw --repair --sample --egress --json --config -h --help $(_holdfast_backups "${config[@]}")" ;;
        drill:*)
            words="--org --due --limit --scratch --cap --check --boot --expect --firmware --bus --memory --boot-patience --json --config -h --help $(_holdfast_backups "${config[@]}")"
            ;;
        prune:*) words="--dry-run --explain --force --json --config -h --help" ;;
        usage:*) words="--json --config -h --help" ;;
        hold:*) words="--reason --release --json --config -h --help $(_holdfast_backups "${config[@]}")" ;;
        status:*) words="--json --prometheus --config -h --help" ;;
        agent:) words="run plan runs --once --config -h --help" ;;
        agent:run) words="--once --config -h --help" ;;
        agent:plan) words="--json --config -h --help" ;;
        agent:runs) words="--limit --json --config -h --help" ;;
        keys:) words="create list show export import rotate delete rewrap -h --help" ;;
        keys:create) words="--config -h --help" ;;
        keys:list) words="--json --config -h --help" ;;
        keys:show) words="--json --config -h --help $(_holdfast_orgs "${config[@]}")" ;;
        keys:export) words="--write-only --passphrase --passphrase-file --config -h --help $(_holdfast_orgs "${config[@]}")" ;;
        keys:rotate) words="--config -h --help $(_holdfast_orgs "${config[@]}")" ;;
        keys:rewrap) words="--dry-run --json --config -h --help $(_holdfast_orgs "${config[@]}")" ;;
        keys:delete) words="--config -h --help $(_holdfast_orgs "${config[@]}")" ;;
        keys:import)
            words="--add --passphrase-file --config -h --help"
            if [[ $positional -gt 0 ]]; then files=yes; fi
            ;;
        backend:) words="list show check test gc copy -h --help" ;;
        backend:list) words="--timeout --json --config -h --help" ;;
        backend:test) words="--size --json --config -h --help" ;;
        backend:show) words="--probe --json --config -h --help" ;;
        backend:check) words="--config -h --help" ;;
        backend:gc) words="--days --config -h --help" ;;
        backend:copy) words="--to --config -h --help $(_holdfast_backups "${config[@]}")" ;;
        catalog:) words="rebuild refresh copies copy restore check -h --help" ;;
        catalog:copies | catalog:copy) words="--backend --org --json --config -h --help" ;;
        catalog:restore) words="--from --org --json --config -h --help" ;;
        catalog:check) words="--repair --config -h --help" ;;
        catalog:rebuild | catalog:refresh) words="--backend --json --config -h --help" ;;
        archive:) words="decode inspect import -h --help" ;;
        archive:decode)
            words="-i --identity -o --output --force -h --help"
            files=yes
            ;;
        archive:inspect)
            words="-i --identity --json -h --help"
            files=yes
            ;;
        archive:import) words="--org --vm --date --disk --backend --json --config -h --help" ;;
        snapshot:) words="create list show rollback clone delete -h --help" ;;
        snapshot:create) words="--require-consistency --json --config -h --help $(_holdfast_snapshots snapshot "${config[@]}")" ;;
        snapshot:list) words="--json --config -h --help" ;;
        snapshot:*)
            words="--config -h --help"
            if [[ $sub == show ]]; then words+=" --verify --json"; fi
            case $positional in
            0) words+=" $(_holdfast_snapshots snapshot "${config[@]}")" ;;
            1) words+=" latest $(_holdfast_snapshots date "${config[@]}")" ;;
            *) files=yes ;;
            esac
            ;;
        help:*) words=$verbs ;;
        esac
        # Options only when one was begun, so that a plain Tab shows what the argument may be.
        if [[ $current != -* && -n $verb ]]; then words=$(tr ' ' '\n' <<<"$words" | grep -v '^-'); fi
        ;;
    esac

    local IFS=$' \t\n'
    # shellcheck disable=SC2207 # names hold no white space that readline could not quote
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    if [[ $files == yes ]]; then
        compopt -o filenames
        mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$current")
    fi
    # Readline breaks words at a colon, and a backup name has one after its backend.
    if declare -F __ltrim_colon_completions >/dev/null; then __ltrim_colon_completions "$current"; fi
}

complete -F _holdfast holdfast
