// Light, dark, or what the system says. The choice is kept, and the page is drawn only when it is known.

const order = ["auto", "light", "dark"];
const names = { auto: "system", light: "light", dark: "dark" };

function kept() {
  try {
    const value = localStorage.getItem("theme");
    return order.includes(value) ? value : "auto";
  } catch {
    return "auto"; // storage may be switched off
  }
}

function apply(theme) {
  const root = document.documentElement;
  if (theme === "auto") delete root.dataset.theme;
  else root.dataset.theme = theme;
}

apply(kept());

export function themeButton(button) {
  const show = (theme) => {
    button.textContent = `Theme: ${names[theme]}`;
  };
  show(kept());
  button.addEventListener("click", () => {
    const theme = order[(order.indexOf(kept()) + 1) % order.length];
    try {
      localStorage.setItem("theme", theme);
    } catch {
      // then it lasts as long as the page
    }
    apply(theme);
    show(theme);
    document.dispatchEvent(new Event("themechange"));
  });
}
