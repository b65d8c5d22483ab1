//! `redkeep completions`.

use anyhow::Context as _;
use clap::Args;
use clap_complete::Shell;
use clap_complete::env::Shells;

use crate::cli::complete::VARIABLE;
use crate::cli::context::Context;
use crate::cli::exit::UsageError;
use crate::cli::outcome::{Outcome, UNWRITTEN};
use crate::cli::output;

/// Print a script that completes redkeep's arguments in a shell
///
/// Prints a script that completes redkeep's arguments in a shell, and the names of profiles, datasets and snapshots as this
/// host saw them last: it asks the redkeep of the PATH, which opens no repository for it. A script is of the version that
/// printed it.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep completions bash > /etc/bash_completion.d/redkeep
  redkeep completions zsh > ~/.zfunc/_redkeep
  redkeep completions fish > ~/.config/fish/completions/redkeep.fish
")]
pub(crate) struct Arguments {
    /// The shell
    shell: Shell,
}

/// Prints the script.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<Outcome> {
    if context.globals.json {
        return Err(UsageError { what: "a script is no JSON".into(), hint: "leave --json out".into() }.into());
    }
    let (name, mut script) = (arguments.shell.to_string(), Vec::new());
    let shells = Shells::builtins();
    let shell = shells.completer(&name).with_context(|| format!("{name} cannot be completed"))?;
    shell.write_registration(VARIABLE, "redkeep", "redkeep", "redkeep", &mut script)?;
    let script = if arguments.shell == Shell::Bash { with_colons(&script) } else { script };
    output::write(&script).context(UNWRITTEN)?;
    Ok(Outcome::nothing())
}

/// To bash a colon parts words, and names of datasets hold one.
const COLONS: &str = r#"
# Words that bash parts at a colon are asked for as one; what stands before the last colon is taken off the answers.
_redkeep() {
    local -a whole=()
    local place word at=0
    for place in "${!COMP_WORDS[@]}"; do
        word="${COMP_WORDS[place]}"
        if (( place == COMP_CWORD )); then
            word="$2"
        fi
        if (( ${#whole[@]} > 1 )) && [[ "$COMP_WORDBREAKS" == *:* ]] &&
            [[ "${COMP_WORDS[place]}" == :* || "${whole[${#whole[@]}-1]}" == *: ]]; then
            # A word that is only the colon is the one that is completed, and empty to bash.
            [[ "${COMP_WORDS[place]}" == :* && "$word" != :* ]] && word=":$word"
            whole[${#whole[@]}-1]+="$word"
        else
            whole+=("$word")
        fi
        (( place == COMP_CWORD )) && at=$(( ${#whole[@]} - 1 ))
    done
    local COMP_WORDS=("${whole[@]}") COMP_CWORD=$at
    _clap_complete_redkeep "$1" "${whole[at]}" "$3"
    local before="${whole[at]%"${whole[at]##*:}"}"
    if [[ "$COMP_WORDBREAKS" == *:* && -n "$before" ]]; then
        COMPREPLY=("${COMPREPLY[@]#"$before"}")
    fi
}
"#;

fn with_colons(script: &[u8]) -> Vec<u8> {
    let script = String::from_utf8_lossy(script).replace("-F _clap_complete_redkeep redkeep", "-F _redkeep redkeep");
    format!("{COLONS}{script}").into_bytes()
}
