# Completion knows every command and every option of each, and is valid where the shell is there.
sonde completion bash >sonde.bash && bash -n sonde.bash && echo "bash: valid"
sonde completion zsh >sonde.zsh && sonde completion fish >sonde.fish
! command -v zsh >/dev/null || zsh -n sonde.zsh
! command -v fish >/dev/null || fish -n sonde.fish
for command in info tokenize act loss generate 'bench forward' 'tokenizer train' doctor completion; do
    for option in $(sonde $command --help | grep -o '^ *\(-., \)\?--[a-z-]*' | grep -o -- '--[a-z-]*'); do
        for file in sonde.bash sonde.zsh; do
            grep -q -- "$option" $file || echo "$file does not know $command $option"
        done
        grep -q -- "-l ${option#--}" sonde.fish || echo "sonde.fish does not know $command $option"
    done
done
complete_line() {
    bash -c 'source ./sonde.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _sonde; printf "%s\n" "${COMPREPLY[@]}" | sort | tr "\n" " "; echo' bash "$@"
}
complete_line sonde to
complete_line sonde act tiny --to
complete_line sonde bench fo
complete_line sonde bench forward --sh
complete_line sonde tokenizer ''
complete_line sonde tokenizer train --sp
complete_line sonde act tiny --dtype ''
