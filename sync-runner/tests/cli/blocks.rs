//! The blocks of the documents.

pub(crate) struct Block<'a> {
    pub(crate) language: &'a str,
    pub(crate) text: String,
    /// The last line before it.
    pub(crate) before: &'a str,
}

/// The blocks of a document, with these names in the place of its own.
pub(crate) fn blocks<'a>(document: &'a str, names: &[(&str, String)]) -> Vec<Block<'a>> {
    let (mut blocks, mut before, mut lines) = (Vec::new(), "", document.lines());
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let text: Vec<_> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
            let own = |text: String, (theirs, ours): &(&str, String)| text.replace(theirs, ours);
            blocks.push(Block { language, text: names.iter().fold(text.join("\n"), own), before });
        } else if !line.is_empty() {
            before = line;
        }
    }
    blocks
}

/// The commands of a block of a shell, without comments: a line, and those behind it that belong to it.
pub(crate) fn commands(text: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        let line = line.split(" #").next().unwrap().trim_end();
        match commands.last_mut().filter(|_| goes_on) {
            Some(command) => *command = format!("{command}\n{line}"),
            None => commands.push(line.to_owned()),
        }
        goes_on =
            commands.last().is_some_and(|command| command.ends_with('\\') || command.matches('\'').count() % 2 == 1);
    }
    commands
}
