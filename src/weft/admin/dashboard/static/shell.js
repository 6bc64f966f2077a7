// Commands that people copy into a shell. What comes from names, addresses or requests is one quoted word, never more.

// A template: the text stands as it is written, each value is a word of its own.
export function sh(texts, ...words) {
  return texts.reduce((line, text, index) => line + quoted(words[index - 1]) + text);
}

function quoted(word) {
  const text = String(word).replace(/[\u0000-\u001f\u007f-\u009f]/g, "?"); // a line break would end the command
  return /^[\w@%+=:,./-]+$/.test(text) && !text.startsWith("-") ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
