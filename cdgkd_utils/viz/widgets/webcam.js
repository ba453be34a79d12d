// Records a few seconds from the camera and hands them to the kernel. Nothing leaves this machine.
function render({ model, el }) {
  const button = document.createElement("button");
  const preview = document.createElement("video");
  const status = document.createElement("span");
  let stream = null;
  button.textContent = "record";
  preview.muted = true;
  preview.playsInline = true;
  preview.width = 240;
  preview.setAttribute("aria-label", "camera preview");
  status.setAttribute("role", "status");

  function say(text) {
    status.textContent = " " + text;
    model.set("status", text);
    model.save_changes();
  }

  function close() {
    if (stream) stream.getTracks().forEach((track) => track.stop());
    stream = null;
    preview.srcObject = null;
    button.disabled = false;
  }

  async function record() {
    button.disabled = true;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: true, audio: false });
      preview.srcObject = stream;
      await preview.play();
      const pieces = [];
      const recorder = new MediaRecorder(stream);
      recorder.ondataavailable = (event) => pieces.push(event.data);
      recorder.onstop = async () => {
        const content = await new Blob(pieces).arrayBuffer();
        model.set("value", new DataView(content));
        say(`recorded ${Math.round(content.byteLength / 1000)} kB`);
        close();
      };
      recorder.start();
      say("recording");
      // A second longer than asked for: the first picture comes late, and the last window has to be whole.
      setTimeout(() => recorder.stop(), 1000 * model.get("seconds") + 1000);
    } catch (error) {
      say(`no camera: ${error.message}`);
      close();
    }
  }

  button.onclick = record;
  el.append(button, status, document.createElement("br"), preview);
  return close;
}

export default { render };
