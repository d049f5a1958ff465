# Help goes to stdout with status 0, however it is asked for, and leads with examples.
sonde act --help >long && sonde act -h >short && sonde help act >word && cmp long short && cmp long word && echo same
sonde act tiny --help | head -1
sonde bench --help | head -1
sonde help bench | head -1
sonde tokenizer --help | head -1
sonde bench forward --help | head -1
for command in info tokenize act loss generate 'bench forward' 'tokenizer train' doctor completion; do
    sonde $command --help | grep -c '^  sonde ' | awk '{ print ($1 >= 2 ? "examples" : "too few examples") }'
done
