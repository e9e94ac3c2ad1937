// A button that copies the text of an element.

export function copyButton(button, element) {
  button.addEventListener("click", async () => {
    const label = button.dataset.label ?? (button.dataset.label = button.textContent);
    try {
      await navigator.clipboard.writeText(element().textContent);
      button.textContent = "Copied";
    } catch {
      // Browsers lend the clipboard only to https and localhost. Elsewhere the text is selected, ready for Ctrl+C.
      getSelection().selectAllChildren(element());
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = label; }, 1500);
  });
}
