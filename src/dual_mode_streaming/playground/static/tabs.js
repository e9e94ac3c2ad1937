// Tabs as the ARIA practices have them: one stop for the Tab key, arrows between them.

export function tabs(list, { onSelect } = {}) {
  const buttons = [...list.querySelectorAll('[role="tab"]')];
  const panel = (button) => document.getElementById(button.getAttribute("aria-controls"));

  function select(chosen, { focus = false } = {}) {
    for (const button of buttons) {
      const on = button === chosen;
      button.setAttribute("aria-selected", String(on));
      button.tabIndex = on ? 0 : -1;
      panel(button).hidden = !on;
    }
    if (focus) chosen.focus();
    onSelect?.(chosen);
  }

  list.addEventListener("click", (event) => {
    const button = event.target.closest('[role="tab"]');
    if (button) select(button);
  });
  list.addEventListener("keydown", (event) => {
    const at = buttons.indexOf(event.target);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    select(buttons[(to + buttons.length) % buttons.length], { focus: true });
  });
  return { select, buttons };
}
